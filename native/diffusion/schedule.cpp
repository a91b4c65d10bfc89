#include "diffusion/schedule.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include <ATen/TensorOperators.h>

#include "core/error.h"

namespace zoodip {

namespace {

constexpr int train_timesteps = 1000;

std::vector<double> between(double first, double last) {
    std::vector<double> all;
    for (int t = 0; t < train_timesteps; ++t) {
        all.push_back(first + (last - first) * t / (train_timesteps - 1));
    }
    return all;
}

std::vector<double> squared_cosine() {
    constexpr double quarter_turn = 1.5707963267948966;
    const auto f = [](int t) {
        const double root =
            std::cos((static_cast<double>(t) / train_timesteps + 0.008) / 1.008 * quarter_turn);
        return root * root;
    };
    std::vector<double> betas;
    for (int t = 0; t < train_timesteps; ++t) {
        betas.push_back(std::min(1 - f(t + 1) / f(t), 0.999));
    }
    return betas;
}

std::vector<double> betas_of(const BetaSchedule& schedule) {
    if (schedule.kind == BetaKind::trained) return schedule.trained;
    if (schedule.kind == BetaKind::linear) return between(schedule.start, schedule.end);
    if (schedule.kind == BetaKind::squaredcos_cap_v2) return squared_cosine();
    std::vector<double> betas = between(std::sqrt(schedule.start), std::sqrt(schedule.end));
    for (double& beta : betas) beta *= beta;
    return betas;
}

// Shifts sqrt(abar) so that its last is zero and scales it so that its first stays (Lin et al.
// 2023, algorithm 1).
void rescale_to_zero_snr(std::vector<double>& alphas_cumprod) {
    const double first = std::sqrt(alphas_cumprod.front());
    const double last = std::sqrt(alphas_cumprod.back());
    for (double& a : alphas_cumprod) {
        const double root = (std::sqrt(a) - last) * first / (first - last);
        a = root * root;
    }
    // The one before may be lower than what diffusers puts there.
    alphas_cumprod.back() = std::min(std::ldexp(1.0, -24), alphas_cumprod.end()[-2] / 2);
}

std::vector<double> alphas_cumprod_of(const BetaSchedule& schedule) {
    std::vector<double> all;
    double product = 1;
    for (const double beta : betas_of(schedule)) all.push_back(product *= 1 - beta);
    if (schedule.zero_snr) rescale_to_zero_snr(all);
    return all;
}

}  // namespace

NoiseSchedule::NoiseSchedule(const BetaSchedule& betas) : NoiseSchedule(alphas_cumprod_of(betas)) {}

NoiseSchedule::NoiseSchedule(std::vector<double> alphas_cumprod)
    : alphas_cumprod_(std::move(alphas_cumprod)) {
    require(alphas_cumprod_.size() == train_timesteps, "schedule: needs 1000 steps, got ",
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
