// Whether a model predicts what it was taken to predict, where nothing in its files says.
#pragma once

#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "objective/dataset.h"
#include "objective/objective.h"

namespace zoodip {

// The losses of a word at the middle of the schedule (t = 500) under both targets, epsilon and v:
// that of what the model was trained to predict is several times smaller.
struct PredictionLosses {
    double epsilon = 0, v = 0;
};
PredictionLosses prediction_losses(const DiffusionObjective::Parts& parts,
                                   const TokenLayout& layout,
                                   const DiffusionObjective::Texts& texts,
                                   const std::vector<LatentPicture>& latents,
                                   const at::Tensor& theta);

// What to say where the target that was not taken fits more than twice as well; empty elsewhere.
std::string doubt_of(Prediction taken, const std::string& reason, const PredictionLosses& losses);

}  // namespace zoodip
