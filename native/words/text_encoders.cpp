#include "words/text_encoders.h"

#include <algorithm>
#include <utility>

#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "core/error.h"

namespace zoodip {
namespace {

// float32 [1, 6 * width]
at::Tensor embed_size(const PictureSize& size, std::int64_t width) {
    const auto number = [](std::int64_t value) { return static_cast<double>(value); };
    const at::Tensor all = at::tensor(
        {number(size.original_height), number(size.original_width), number(size.crop_top),
         number(size.crop_left), number(size.target_height), number(size.target_width)},
        at::kFloat);
    return timestep_embedding(all, width).reshape({1, 6 * width});
}

}  // namespace

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
    if (const at::Tensor* fixed = of_encoder(text.fixed_vectors, encoder)) {
        const auto& positions = text.fixed_positions;
        injection.positions.insert(injection.positions.end(), positions.begin(), positions.end());
        parts.push_back(fixed->to(thetas.device()).unsqueeze(0).expand({thetas.size(0), -1, -1}));
    }
    if (!parts.empty()) injection.vectors = at::cat(parts, 1);
    return injection;
}

TextEncoders::TextEncoders(std::vector<std::shared_ptr<const TextEncoder>> encoders,
                           std::int64_t size_width)
    : encoders_(std::move(encoders)), size_width_(size_width) {
    require(!encoders_.empty(), "text encoders: needs at least one, got none");
    const bool pooled = std::any_of(encoders_.begin(), encoders_.end(), [](const auto& encoder) {
        return !encoder->spec().projection.empty();
    });
    require(size_width_ == 0 || pooled,
            "text encoders: a UNet with size conditioning needs one that makes a pooled vector");
}

std::int64_t TextEncoders::layers() const {
    const auto fewest =
        std::min_element(encoders_.begin(), encoders_.end(),
                         [](const auto& a, const auto& b) { return a->layers() < b->layers(); });
    return (*fewest)->layers();
}

Conditioning TextEncoders::join(const std::vector<TextOutput>& outputs,
                                const PictureSize& size) const {
    std::vector<at::Tensor> hidden, vectors;
    for (const TextOutput& output : outputs) {
        hidden.push_back(output.hidden);
        if (output.pooled.defined()) vectors.push_back(output.pooled);
    }
    Conditioning conditioning{hidden.size() == 1 ? hidden.front() : at::cat(hidden, 2)};
    if (size_width_ == 0) return conditioning;
    const std::int64_t rows = vectors.front().size(0);
    vectors.push_back(
        embed_size(size, size_width_).to(vectors.front().device()).expand({rows, -1}));
    conditioning.y = at::cat(vectors, 1);
    return conditioning;
}

Conditioning TextEncoders::condition(const PreparedText& text, const TokenLayout& layout,
                                     const at::Tensor& thetas, std::int64_t clip_skip,
                                     const PictureSize& size) const {
    std::vector<TextOutput> outputs;
    for (const auto& encoder : encoders_) {
        outputs.push_back(encoder->forward(
            text.ids, inject(text, layout, thetas, encoder->spec().key), clip_skip));
    }
    return join(outputs, size);
}

Conditioning TextEncoders::condition(const PreparedText& text, std::int64_t clip_skip,
                                     const PictureSize& size) const {
    const at::Tensor none =
        at::zeros({1, 0}, at::TensorOptions(encoders_.front()->device()).dtype(at::kFloat));
    return condition(text, TokenLayout(), none, clip_skip, size);
}

TextEncoders load_text_encoders(const WeightSource& source, const Architecture& architecture,
                                const LoadOptions& options) {
    std::vector<std::shared_ptr<const TextEncoder>> encoders;
    for (const TextEncoderSpec& spec : architecture.encoders) {
        encoders.push_back(std::make_shared<const TextEncoder>(source, options, spec));
    }
    return TextEncoders(std::move(encoders), architecture.size_width);
}

Conditioning stack(const std::vector<Conditioning>& parts) {
    std::vector<at::Tensor> contexts, vectors;
    for (const Conditioning& part : parts) {
        contexts.push_back(part.context);
        if (part.y) vectors.push_back(*part.y);
    }
    Conditioning all{at::cat(contexts)};
    if (!vectors.empty()) all.y = at::cat(vectors);
    return all;
}

}  // namespace zoodip
