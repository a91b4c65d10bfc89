// What --compute auto takes: the products with which training to equal quality is shortest here.
#pragma once

#include <map>
#include <string>

#include "nn/weight_source.h"
#include "settings/settings.h"

namespace zoodip {

struct ComputeChoice {
    ComputeType compute;
    // Of a step with each type that runs here, from products of the model's own shapes that were
    // timed on this machine; attention included, what is between the products not. Empty where
    // nothing was timed.
    std::map<ComputeType, double> seconds;
    std::string reason;  // a sentence
};

// settings.compute is not looked at. On the CPU with quantised weights products are timed, which
// takes a second or two, once for a processor, number of threads, version and kind of model: what
// was found is kept in cache_folder(). Everywhere else the answer is fp32. The environment
// variable ZOODIP_COMPUTE, where it is set, is the answer without any timing. Throws Error where it
// is none.
ComputeChoice choose_compute(const TrainSettings& settings, const WeightSource& source);

// The type with the least time to equal quality, of those timed: seconds a step times the steps
// that the type's slopes cost (step_factor). Of equal ones the more exact.
ComputeType quickest(const std::map<ComputeType, double>& seconds);

// Steps to the same held-out loss, relative to fp32's, each type at its default mu: the mean over
// eight seeds of `python -m zoodip.bench numerics` (1.04 for bf16, 1.03 for int8) and its standard
// error (0.14, 0.16) with it, so that a coarser type is taken for more than luck.
double step_factor(ComputeType compute);

}  // namespace zoodip
