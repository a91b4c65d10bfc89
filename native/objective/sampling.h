// What a step looks at: a picture, its caption, a timestep and noise, each a value of (seed,
// index).
#pragma once

#include <cstdint>
#include <vector>

#include "diffusion/timestep_plan.h"
#include "objective/dataset.h"
#include "objective/objective.h"

namespace zoodip {

class Sampling {
  public:
    // flip: the probability of a mirrored picture. The latents must outlive this. Throws Error
    // without pictures.
    Sampling(const std::vector<LatentPicture>& latents, TimestepPlan plan, double flip,
             std::uint64_t seed);

    // Draw `index` from 0: in as many draws as all pictures' repeats come to, every picture as
    // often as its own say, in an order shuffled anew.
    Sample draw(std::uint64_t index) const;

  private:
    const std::vector<LatentPicture>& latents_;
    std::vector<std::int64_t> lots_;  // of pictures, each as often as its repeats
    TimestepPlan plan_;
    double flip_;
    std::uint64_t seed_;
};

}  // namespace zoodip
