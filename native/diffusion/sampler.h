// DPM-Solver++(2M) with classifier-free guidance (Lu et al. 2022, arXiv 2211.01095).
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "diffusion/schedule.h"

namespace zoodip {

// The timesteps of `count` sampler steps, descending: `count` + 1 evenly spaced numbers from
// 0 to T - 1, rounded to even, the last (0) left out.
std::vector<std::int64_t> sampler_timesteps(const NoiseSchedule& schedule, std::int64_t count);

// denoise(z_t, timestep) -> x0. Starts from N(0, I) noise and returns z_0. The last step is of
// first order and ends at x0 itself (a final sigma of zero).
at::Tensor sample_dpm_solver(
    const NoiseSchedule& schedule, std::int64_t steps, const at::Tensor& noise,
    const std::function<at::Tensor(const at::Tensor&, std::int64_t)>& denoise);

}  // namespace zoodip
