#include "diffusion/timestep_plan.h"

#include <algorithm>

#include "core/error.h"
#include "core/random.h"

namespace zoodip {
namespace {

constexpr std::int64_t strata = 10;

}  // namespace

const NameTable<Timesteps>& timestep_names() {
    static const NameTable<Timesteps> names = {{Timesteps::puts, "puts"},
                                               {Timesteps::uniform, "uniform"},
                                               {Timesteps::snr, "snr"},
                                               {Timesteps::stratified, "stratified"}};
    return names;
}

TimestepPlan::TimestepPlan(Timesteps kind, std::int64_t lower, std::int64_t upper,
                           const NoiseSchedule& schedule)
    : kind_(kind), lower_(lower), upper_(upper) {
    require(lower >= 0 && lower < upper && upper <= schedule.steps(),
            "timesteps: needs 0 <= lower < upper <= ", schedule.steps(), ", got ", lower, " and ",
            upper);
    if (kind == Timesteps::uniform) {
        lower_ = 0;
        upper_ = schedule.steps();
    } else if (kind == Timesteps::snr) {
        double sum = 0;
        for (std::int64_t t = 0; t < schedule.steps(); ++t) {
            cumulative_.push_back(sum += 1 - schedule.alphas_cumprod(t));
        }
    }
}

std::int64_t TimestepPlan::draw(std::uint64_t seed, std::uint64_t index) const {
    if (kind_ == Timesteps::stratified) return draw_stratified(seed, index);
    const RandomBlock block(seed, Stream::timestep, index);
    if (kind_ != Timesteps::snr) return block.integer(lower_, upper_);
    const double place = block.uniform(0) * cumulative_.back();
    const auto found = std::upper_bound(cumulative_.begin(), cumulative_.end(), place);
    return std::min<std::int64_t>(found - cumulative_.begin(),
                                  static_cast<std::int64_t>(cumulative_.size()) - 1);
}

std::int64_t TimestepPlan::draw_stratified(std::uint64_t seed, std::uint64_t index) const {
    const std::int64_t count = std::min(strata, upper_ - lower_);
    const auto rounds = static_cast<std::uint64_t>(count);
    const std::int64_t stratum =
        shuffled(seed, Stream::stratum, index / rounds, count, index % rounds);
    const auto edge = [&](std::int64_t i) { return lower_ + (upper_ - lower_) * i / count; };
    return RandomBlock(seed, Stream::timestep, index).integer(edge(stratum), edge(stratum + 1));
}

}  // namespace zoodip
