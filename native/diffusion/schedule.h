// The noise schedule and what the UNet is asked to predict.
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "diffusion/beta_schedule.h"
#include "diffusion/prediction.h"

namespace zoodip {

class NoiseSchedule {
  public:
    // alphas_cumprod_t = prod_{s<=t} (1 - beta_s), T = 1000. With a terminal SNR of zero the last
    // is at most 2^-24 instead of 0, as diffusers' solvers have it, so that x0 and its logarithm
    // are finite. Throws Error for betas that leave nothing of the picture before the last
    // timestep.
    explicit NoiseSchedule(const BetaSchedule& betas);
    NoiseSchedule() : NoiseSchedule(BetaSchedule()) {}

    // Any other schedule of 1000 steps: each number in (0, 1), falling. Throws Error otherwise.
    explicit NoiseSchedule(std::vector<double> alphas_cumprod);

    std::int64_t steps() const { return static_cast<std::int64_t>(alphas_cumprod_.size()); }
    double alphas_cumprod(std::int64_t timestep) const;

    // z_t = sqrt(abar_t) z + sqrt(1 - abar_t) eps
    at::Tensor add_noise(const at::Tensor& z, const at::Tensor& eps, std::int64_t timestep) const;

    // What the UNet should return: eps, or v = sqrt(abar_t) eps - sqrt(1 - abar_t) z.
    at::Tensor target(const at::Tensor& z, const at::Tensor& eps, std::int64_t timestep,
                      Prediction prediction) const;

    // The picture that a prediction at z_t stands for: x0.
    at::Tensor denoised(const at::Tensor& z_t, const at::Tensor& output, std::int64_t timestep,
                        Prediction prediction) const;

  private:
    std::vector<double> alphas_cumprod_;
};

}  // namespace zoodip
