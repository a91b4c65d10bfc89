#include "train/prediction_check.h"

#include "core/error.h"
#include "train/sampling.h"

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
    const Sampling sampling(latents, TimestepPlan("puts", middle, middle + 1, parts.schedule),
                            /*flip=*/0, /*seed=*/0);
    const Sample sample = sampling.draw(0);
    const auto loss_of = [&](Prediction prediction) {
        DiffusionObjective::Parts own = parts;
        own.prediction = prediction;
        DiffusionObjective objective(own, layout, texts);
        return objective.losses(theta.unsqueeze(0), sample)[0].item<double>();
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
