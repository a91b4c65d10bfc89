#include "objective/prediction_check.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>

#include "core/error.h"
#include "objective/sampling.h"

namespace zoodip {
namespace {

constexpr std::int64_t middle = 500;  // of the schedule's 1000
constexpr double far_better = 0.5;    // of the loss of what was taken

}  // namespace

PredictionLosses prediction_losses(const DiffusionObjective::Parts& parts,
                                   const TokenLayout& layout,
                                   const DiffusionObjective::Texts& texts,
                                   const std::vector<LatentPicture>& latents,
                                   const at::Tensor& theta) {
    const Sampling sampling(latents,
                            TimestepPlan(Timesteps::puts, middle, middle + 1, parts.schedule),
                            /*flip=*/0, /*seed=*/0);
    const Sample sample = sampling.draw(0);
    const PreparedText& text = texts.at(static_cast<std::size_t>(sample.picture))
                                   .at(static_cast<std::size_t>(sample.caption));
    const at::Tensor z = sample.z.to(parts.device), eps = sample.eps.to(parts.device);
    const at::Tensor z_t = parts.schedule.add_noise(z, eps, middle);
    // One pass: the two targets differ in what it is compared with.
    const at::Tensor output = parts.unet.forward(
        z_t, at::full({1}, static_cast<double>(middle), z_t.options()),
        parts.text_encoders.condition(text, layout, theta.unsqueeze(0).to(parts.device),
                                      parts.clip_skip, parts.size));
    const auto loss_of = [&](Prediction prediction) {
        const at::Tensor target = parts.schedule.target(z, eps, middle, prediction);
        return (output - target).to(at::kDouble).square().mean().item<double>();
    };
    return {loss_of(Prediction::epsilon), loss_of(Prediction::v)};
}

std::string doubt_of(Prediction taken, const std::string& reason, const PredictionLosses& losses) {
    const bool v = taken == Prediction::v;
    const double own = v ? losses.v : losses.epsilon, other = v ? losses.epsilon : losses.v;
    if (!(other < far_better * own)) return {};
    const char* names[] = {"epsilon", "v"};
    return concat("prediction: the model is taken to predict ", names[v], ", ", reason,
                  "; but at t = 500 its output fits ", names[!v], " far better (a loss of ", other,
                  " against ", own, "). If that is what it was trained on, start anew with ",
                  "prediction ", names[!v]);
}

}  // namespace zoodip
