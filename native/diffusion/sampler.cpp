#include "diffusion/sampler.h"

#include <cmath>

#include <ATen/TensorOperators.h>

#include "core/error.h"

namespace zoodip {
namespace {

// z_t = alpha x0 + sigma eps; lambda = log(alpha / sigma) is half the log signal-to-noise ratio.
struct Level {
    double alpha, sigma, lambda;
};

Level level_at(const NoiseSchedule& schedule, std::int64_t timestep) {
    const double a = schedule.alphas_cumprod(timestep);
    return {std::sqrt(a), std::sqrt(1 - a), 0.5 * (std::log(a) - std::log1p(-a))};
}

}  // namespace

std::vector<std::int64_t> sampler_timesteps(const NoiseSchedule& schedule, std::int64_t count) {
    require(count >= 1 && count < schedule.steps(), "sampler: needs 1 to ", schedule.steps() - 1,
            " steps, got ", count);
    std::vector<std::int64_t> timesteps;
    for (std::int64_t i = count; i >= 1; --i) {
        const double exact = static_cast<double>(i) * static_cast<double>(schedule.steps() - 1) /
                             static_cast<double>(count);
        timesteps.push_back(static_cast<std::int64_t>(std::nearbyint(exact)));
    }
    return timesteps;
}

at::Tensor sample_dpm_solver(
    const NoiseSchedule& schedule, std::int64_t steps, const at::Tensor& noise,
    const std::function<at::Tensor(const at::Tensor&, std::int64_t)>& denoise) {
    const auto timesteps = sampler_timesteps(schedule, steps);
    at::Tensor z = noise, previous;
    double previous_h = 0;
    for (std::size_t i = 0; i < timesteps.size(); ++i) {
        const at::Tensor x0 = denoise(z, timesteps[i]);
        if (i + 1 == timesteps.size()) return x0;
        const Level from = level_at(schedule, timesteps[i]);
        const Level to = level_at(schedule, timesteps[i + 1]);
        const double h = to.lambda - from.lambda;
        at::Tensor direction = x0;
        if (previous.defined()) direction = x0 + (0.5 * h / previous_h) * (x0 - previous);
        z = (to.sigma / from.sigma) * z - (to.alpha * std::expm1(-h)) * direction;
        previous = x0;
        previous_h = h;
    }
    return z;
}

}  // namespace zoodip
