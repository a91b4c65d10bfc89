#include "diffusion/schedule.h"

#include <cmath>
#include <utility>

#include <ATen/TensorOperators.h>

#include "core/error.h"

namespace zoodip {

NoiseSchedule::NoiseSchedule() {
    constexpr int steps = 1000;
    const double first = std::sqrt(0.00085), last = std::sqrt(0.012);
    double product = 1;
    for (int t = 0; t < steps; ++t) {
        const double root = first + (last - first) * t / (steps - 1);
        product *= 1 - root * root;
        alphas_cumprod_.push_back(product);
    }
}

NoiseSchedule::NoiseSchedule(std::vector<double> alphas_cumprod)
    : alphas_cumprod_(std::move(alphas_cumprod)) {
    require(alphas_cumprod_.size() == 1000, "schedule: needs 1000 steps, got ",
            alphas_cumprod_.size(), ". Timesteps count from 0 to 999");
    double before = 1;
    for (const double a : alphas_cumprod_) {
        require(a > 0 && a < before, "schedule: needs numbers that fall from below 1 to above 0, ",
                "got ", a, " after ", before);
        before = a;
    }
}

double NoiseSchedule::alphas_cumprod(std::int64_t timestep) const {
    require(timestep >= 0 && timestep < steps(), "schedule: needs a timestep from 0 to ",
            steps() - 1, ", got ", timestep);
    return alphas_cumprod_[static_cast<std::size_t>(timestep)];
}

at::Tensor NoiseSchedule::add_noise(const at::Tensor& z, const at::Tensor& eps,
                                    std::int64_t timestep) const {
    const double a = alphas_cumprod(timestep);
    return std::sqrt(a) * z + std::sqrt(1 - a) * eps;
}

at::Tensor NoiseSchedule::target(const at::Tensor& z, const at::Tensor& eps, std::int64_t timestep,
                                 Prediction prediction) const {
    if (prediction == Prediction::epsilon) return eps;
    const double a = alphas_cumprod(timestep);
    return std::sqrt(a) * eps - std::sqrt(1 - a) * z;
}

at::Tensor NoiseSchedule::denoised(const at::Tensor& z_t, const at::Tensor& output,
                                   std::int64_t timestep, Prediction prediction) const {
    const double a = alphas_cumprod(timestep);
    if (prediction == Prediction::v) return std::sqrt(a) * z_t - std::sqrt(1 - a) * output;
    return (z_t - std::sqrt(1 - a) * output) / std::sqrt(a);
}

}  // namespace zoodip
