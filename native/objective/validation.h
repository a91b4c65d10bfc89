// The loss of fixed samples: what tells two words apart, where a step's own loss is mostly noise.
#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

#include "core/cancel.h"
#include "objective/objective.h"
#include "objective/sampling.h"
#include "settings/settings.h"

namespace zoodip {

class Validation {
  public:
    // count samples, the same in every call; the references must outlive this.
    Validation(Objective& objective, Sampling sampling, std::int64_t count, CancelToken cancel);

    // Their mean loss at theta, float32 [d]: `count` forward passes. Throws Cancelled.
    double loss(const at::Tensor& theta) const;

    // Samples of another seed than any run's own, their timesteps stratified over the range that
    // the run draws from.
    static Sampling samples(const std::vector<LatentPicture>& latents,
                            const TrainSettings& settings, const NoiseSchedule& schedule);

  private:
    Objective& objective_;
    Sampling sampling_;
    std::int64_t count_;
    CancelToken cancel_;
};

}  // namespace zoodip
