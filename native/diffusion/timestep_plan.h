// Which timestep a training step looks at.
#pragma once

#include <cstdint>
#include <vector>

#include "core/names.h"
#include "diffusion/schedule.h"

namespace zoodip {

// Draw k of a run, from 0, is a value of (seed, k): resuming changes nothing.
//   puts        Partial uniform timestep sampling (ZOODiP Eq. 9): t ~ U{lower, ..., upper - 1}
//   uniform     t ~ U{0, ..., 999}
//   snr         p(t) ~ 1 / (1 + SNR(t)) = 1 - alphas_cumprod(t), SNR = abar / (1 - abar): the more
//               noise the oftener (the weights of P2, Choi et al. 2022, arXiv 2204.00227, with k =
//               gamma = 1, as probabilities)
//   stratified  as puts, but ten draws after another take one from each tenth of the range, in an
//               order shuffled anew
enum class Timesteps { puts, uniform, snr, stratified };

const NameTable<Timesteps>& timestep_names();

class TimestepPlan {
  public:
    // lower < upper <= schedule.steps(). Throws Error for another range.
    TimestepPlan(Timesteps kind, std::int64_t lower, std::int64_t upper,
                 const NoiseSchedule& schedule);

    std::int64_t draw(std::uint64_t seed, std::uint64_t index) const;

  private:
    std::int64_t draw_stratified(std::uint64_t seed, std::uint64_t index) const;

    Timesteps kind_;
    std::int64_t lower_, upper_;
    std::vector<double> cumulative_;  // of p(t), for snr
};

}  // namespace zoodip
