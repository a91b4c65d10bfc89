#include "objective/objective.h"

#include <algorithm>
#include <utility>

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "core/error.h"

namespace zoodip {
namespace {

at::Tensor mean_product(const at::Tensor& a, const at::Tensor& b) {
    return (a * b).mean();
}

}  // namespace

at::Tensor mean_in_order(const std::vector<at::Tensor>& losses) {
    at::Tensor sum = losses.front().clone();
    for (std::size_t i = 1; i < losses.size(); ++i) sum += losses[i];
    return sum / static_cast<double>(losses.size());
}

at::Tensor Objective::mean_losses(const at::Tensor& thetas, const std::vector<Sample>& samples,
                                  LossForm form) {
    std::vector<at::Tensor> all;
    for (const Sample& sample : samples) all.push_back(losses(thetas, sample, form));
    return mean_in_order(all);
}

DiffusionObjective::DiffusionObjective(Parts parts, TokenLayout layout, Texts texts,
                                       std::int64_t chunk)
    : parts_(std::move(parts)),
      layout_(std::move(layout)),
      texts_(std::move(texts)),
      chunk_(chunk) {
    require(chunk >= 0, "objective: needs chunks of at least 1 row, or 0 for all, got ", chunk);
}

const PreparedText& DiffusionObjective::text_of(const Sample& sample) const {
    return texts_.at(static_cast<std::size_t>(sample.picture))
        .at(static_cast<std::size_t>(sample.caption));
}

at::Tensor DiffusionObjective::seen_by(const std::vector<Sample>& samples) const {
    if (layout_.words() == 1) return {};
    const at::Tensor seen = at::zeros({layout_.size()}, at::kFloat);
    for (const Sample& sample : samples) {
        for (const PreparedText::Place& place : text_of(sample).places) {
            layout_.mark_word(place.word, seen);
        }
    }
    return seen;
}

const PictureSize& DiffusionObjective::size_of(const Sample& sample) const {
    if (parts_.sizes.empty()) return parts_.size;
    return parts_.sizes.at(static_cast<std::size_t>(sample.picture))[sample.mirrored];
}

Activations* DiffusionObjective::activations() {
    Activations* activations = parts_.unet.activations();
    if (activations != nullptr) activations->belong_to(this);
    return activations;
}

Conditioning DiffusionObjective::condition(const at::Tensor& thetas, const Sample& sample) const {
    return parts_.text_encoders.condition(text_of(sample), layout_, thetas, parts_.clip_skip,
                                          size_of(sample));
}

at::Tensor DiffusionObjective::noised(const Sample& sample) const {
    return parts_.schedule.add_noise(sample.z.to(parts_.device), sample.eps.to(parts_.device),
                                     sample.timestep);
}

at::Tensor DiffusionObjective::predict(const at::Tensor& thetas, const Sample& sample) {
    activations();
    const at::Tensor z_t = noised(sample);
    const at::Tensor timestep = at::full({1}, static_cast<double>(sample.timestep), z_t.options());
    const std::int64_t rows = thetas.size(0), size = chunk_ == 0 ? rows : std::min(rows, chunk_);
    std::vector<at::Tensor> outputs;
    for (std::int64_t begin = 0; begin < rows; begin += size) {
        const std::int64_t there = std::min(size, rows - begin);
        at::Tensor part = thetas.slice(0, begin, begin + there);
        if (there < size) part = at::cat({part, thetas.slice(0, 0, 1).expand({size - there, -1})});
        const Conditioning conditioning = condition(part, sample);
        outputs.push_back(parts_.unet.forward(z_t, timestep, conditioning).slice(0, 0, there));
        ++unet_calls_;
    }
    return outputs.size() == 1 ? outputs.front() : at::cat(outputs);
}

at::Tensor DiffusionObjective::losses_of(const at::Tensor& output, const Sample& sample,
                                         LossForm form) const {
    const at::Tensor z = sample.z.to(parts_.device), eps = sample.eps.to(parts_.device);
    const at::Tensor target = parts_.schedule.target(z, eps, sample.timestep, parts_.prediction);
    const at::Tensor base = (output[0] - target[0]).to(at::kDouble);
    std::vector<at::Tensor> rows;
    // Row by row: a sum over all rows at once may be split between threads by their number.
    for (std::int64_t i = 0; i < output.size(0); ++i) {
        if (form == LossForm::linearised) {
            const at::Tensor change = (output[i] - output[0]).to(at::kDouble);
            rows.push_back(mean_product(base, base) + 2 * mean_product(base, change));
        } else {
            const at::Tensor residual = (output[i] - target[0]).to(at::kDouble);
            rows.push_back(mean_product(residual, residual));
        }
    }
    return at::stack(rows).cpu();
}

at::Tensor DiffusionObjective::losses(const at::Tensor& thetas, const Sample& sample,
                                      LossForm form) {
    return losses_of(predict(thetas.to(parts_.device), sample), sample, form);
}

// The text encoders see each one's rows by themselves: they are a small part of the work.
std::vector<at::Tensor> DiffusionObjective::pass_together(const std::vector<Asked>& asked,
                                                          LossForm form) {
    const Parts& parts = asked.front().objective->parts_;
    const std::int64_t rows = asked.front().thetas.size(0);
    std::vector<at::Tensor> inputs;
    std::vector<Conditioning> conditionings;
    std::vector<double> timesteps;
    for (const Asked& one : asked) {
        require(one.objective->shares_passes() && &one.objective->parts_.unet == &parts.unet &&
                    one.thetas.size(0) == rows,
                "objective: passes are shared by objectives of one UNet, without chunks and ",
                "integer activations, for as many rows each");
        inputs.push_back(one.objective->noised(*one.sample));
        timesteps.push_back(static_cast<double>(one.sample->timestep));
        conditionings.push_back(one.objective->condition(one.thetas.to(parts.device), *one.sample));
    }
    const at::Tensor z_t = at::cat(inputs);
    const at::Tensor output = parts.unet.forward(
        z_t, at::tensor(timesteps, at::kDouble).to(z_t.options()), stack(conditionings));
    ++asked.front().objective->unet_calls_;
    std::vector<at::Tensor> losses;
    for (std::size_t i = 0; i < asked.size(); ++i) {
        const auto first = static_cast<std::int64_t>(i) * rows;
        losses.push_back(asked[i].objective->losses_of(output.slice(0, first, first + rows),
                                                       *asked[i].sample, form));
    }
    return losses;
}

std::vector<at::Tensor> DiffusionObjective::losses_together(const std::vector<Asked>& asked,
                                                            LossForm form) {
    if (asked.size() > 1) return pass_together(asked, form);
    const Asked& only = asked.front();
    return {only.objective->losses(only.thetas, *only.sample, form)};
}

}  // namespace zoodip
