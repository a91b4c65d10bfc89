#include "train/objective.h"

#include <utility>

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/stack.h>

#include "core/error.h"

namespace zoodip {

TokenInjection inject(const PreparedText& text, const TokenLayout& layout,
                      const at::Tensor& thetas) {
    TokenInjection injection;
    std::vector<at::Tensor> parts;
    for (const auto& place : text.places) {
        const TokenSlot& slot = layout.slots().at(place.word);
        parts.push_back(layout.slice(thetas, slot));
        for (std::int64_t i = 0; i < slot.vectors; ++i) {
            injection.positions.push_back(place.position + i);
        }
    }
    if (text.fixed_vectors.defined()) {
        const auto& positions = text.fixed_positions;
        injection.positions.insert(injection.positions.end(), positions.begin(), positions.end());
        parts.push_back(
            text.fixed_vectors.to(thetas.device()).unsqueeze(0).expand({thetas.size(0), -1, -1}));
    }
    if (!parts.empty()) injection.vectors = at::cat(parts, 1);
    return injection;
}

DiffusionObjective::DiffusionObjective(Parts parts, TokenLayout layout,
                                       std::vector<PreparedText> texts)
    : parts_(std::move(parts)), layout_(std::move(layout)), texts_(std::move(texts)) {}

at::Tensor DiffusionObjective::losses(const at::Tensor& thetas, const Sample& sample) {
    const PreparedText& text = texts_.at(static_cast<std::size_t>(sample.picture));
    const TokenInjection injection = inject(text, layout_, thetas.to(parts_.device));
    const at::Tensor context =
        parts_.text_encoder.forward(text.ids, injection, parts_.clip_skip).hidden;

    const at::Tensor z = sample.z.to(parts_.device), eps = sample.eps.to(parts_.device);
    const at::Tensor z_t = parts_.schedule.add_noise(z, eps, sample.timestep);
    const at::Tensor timestep = at::full({1}, static_cast<double>(sample.timestep), z_t.options());
    const at::Tensor output = parts_.unet.forward(z_t, timestep, {context, std::nullopt});
    ++unet_calls_;

    const at::Tensor target = parts_.schedule.target(z, eps, sample.timestep, parts_.prediction);
    std::vector<at::Tensor> rows;
    // Row by row: a sum over all rows at once may be split between threads by their number.
    for (std::int64_t i = 0; i < output.size(0); ++i) {
        const at::Tensor residual = (output[i] - target[0]).to(at::kDouble);
        rows.push_back((residual * residual).mean());
    }
    return at::stack(rows).cpu();
}

}  // namespace zoodip
