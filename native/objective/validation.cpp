#include "objective/validation.h"

#include <utility>

#include <ATen/ops/empty.h>

namespace zoodip {
namespace {

constexpr std::uint64_t seed_bit = std::uint64_t{1} << 62;  // beyond every seed that can be asked

}  // namespace

Validation::Validation(Objective& objective, Sampling sampling, std::int64_t count,
                       CancelToken cancel)
    : objective_(objective),
      sampling_(std::move(sampling)),
      count_(count),
      cancel_(std::move(cancel)) {}

double Validation::loss(const at::Tensor& theta) const {
    std::vector<Sample> samples;
    for (std::int64_t i = 0; i < count_; ++i) {
        cancel_.check();
        samples.push_back(sampling_.draw(static_cast<std::uint64_t>(i)));
    }
    return objective_.mean_losses(theta.unsqueeze(0), samples)[0].item<double>();
}

Sampling Validation::samples(const std::vector<LatentPicture>& latents,
                             const TrainSettings& settings, const NoiseSchedule& schedule) {
    const bool partial =
        settings.timesteps == Timesteps::puts || settings.timesteps == Timesteps::stratified;
    const std::int64_t lower = partial ? settings.t_lower : 0;
    const std::int64_t upper = partial ? settings.t_upper : schedule.steps();
    return {latents, TimestepPlan(Timesteps::stratified, lower, upper, schedule), settings.flip,
            static_cast<std::uint64_t>(settings.seed) | seed_bit};
}

}  // namespace zoodip
