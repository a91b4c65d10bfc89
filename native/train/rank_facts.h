// What the ranks of a run must have alike, to learn one word together.
#pragma once

#include <ATen/core/Tensor.h>

#include "ranks/ranks.h"

#include "train/plan.h"

namespace zoodip {

// Before a weight is read: versions, instruction sets, settings that decide results, word, pictures
// and captions. Threads may differ: no sum of the engine is divided by their number.
Facts facts_of(const Plan& plan);

// Behind that: the weights, and the word that the run starts from.
Facts facts_of_weights(const Plan& plan, const at::Tensor& theta);

}  // namespace zoodip
