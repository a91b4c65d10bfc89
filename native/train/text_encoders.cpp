#include "train/text_encoders.h"

#include <ATen/ops/cat.h>

#include "core/error.h"

namespace zoodip {

TokenInjection inject(const PreparedText& text, const TokenLayout& layout, const at::Tensor& thetas,
                      const std::string& encoder) {
    TokenInjection injection;
    std::vector<at::Tensor> parts;
    for (const auto& place : text.places) {
        const TokenSlot& slot = layout.slot(place.word, encoder);
        parts.push_back(layout.slice(thetas, slot));
        for (std::int64_t i = 0; i < slot.vectors; ++i) {
            injection.positions.push_back(place.position + i);
        }
    }
    if (text.fixed_vectors.defined() && encoder == "clip_l") {
        const auto& positions = text.fixed_positions;
        injection.positions.insert(injection.positions.end(), positions.begin(), positions.end());
        parts.push_back(
            text.fixed_vectors.to(thetas.device()).unsqueeze(0).expand({thetas.size(0), -1, -1}));
    }
    if (!parts.empty()) injection.vectors = at::cat(parts, 1);
    return injection;
}

TextEncoders::TextEncoders(std::vector<NamedEncoder> encoders) : encoders_(std::move(encoders)) {
    require(!encoders_.empty(), "text encoders: needs at least one, got none");
}

at::Tensor TextEncoders::context(const PreparedText& text, const TokenLayout& layout,
                                 const at::Tensor& thetas, std::int64_t clip_skip) const {
    std::vector<at::Tensor> states;
    for (const auto& [name, encoder] : encoders_) {
        states.push_back(
            encoder->forward(text.ids, inject(text, layout, thetas, name), clip_skip).hidden);
    }
    return states.size() == 1 ? states.front() : at::cat(states, 2);
}

at::Tensor TextEncoders::context(const PreparedText& text, std::int64_t clip_skip) const {
    std::vector<at::Tensor> states;
    for (const auto& [name, encoder] : encoders_) {
        states.push_back(encoder->forward(text.ids, {}, clip_skip).hidden);
    }
    return states.size() == 1 ? states.front() : at::cat(states, 2);
}

}  // namespace zoodip
