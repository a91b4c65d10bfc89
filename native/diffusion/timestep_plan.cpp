#include "diffusion/timestep_plan.h"

#include <algorithm>

#include "core/error.h"
#include "core/random.h"

namespace zoodip {
namespace {

constexpr std::int64_t strata = 10;

}  // namespace

TimestepPlan::TimestepPlan(const std::string& kind, std::int64_t lower, std::int64_t upper,
                           const NoiseSchedule& schedule)
    : kind_(Kind::range), lower_(lower), upper_(upper) {
    require(lower >= 0 && lower < upper && upper <= schedule.steps(),
            "timesteps: needs 0 <= lower < upper <= ", schedule.steps(), ", got ", lower, " and ",
            upper);
    if (kind == "puts") return;
    if (kind == "uniform") {
        lower_ = 0;
        upper_ = schedule.steps();
    } else if (kind == "stratified") {
        kind_ = Kind::stratified;
    } else {
        require(kind == "snr", "timesteps: needs puts, uniform, snr or stratified, got '", kind,
                "'");
        kind_ = Kind::snr;
        double sum = 0;
        for (std::int64_t t = 0; t < schedule.steps(); ++t) {
            cumulative_.push_back(sum += 1 - schedule.alphas_cumprod(t));
        }
    }
}

std::int64_t TimestepPlan::draw(std::uint64_t seed, std::uint64_t index) const {
    if (kind_ == Kind::stratified) return draw_stratified(seed, index);
    const RandomBlock block(seed, Stream::timestep, index);
    if (kind_ == Kind::range) return block.integer(lower_, upper_);
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
