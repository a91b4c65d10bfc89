#include "train/loss_watch.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace zoodip {
namespace {

constexpr double share_of_new = 0.02, slow_share_of_new = 0.004;
constexpr std::int64_t first_steps = 50;  // until the mean is one of several pictures and timesteps

}  // namespace

void LossWatch::take(std::int64_t step, double loss, const at::Tensor& word) {
    smooth_ = seen_ == 0 ? loss : (1 - share_of_new) * smooth_ + share_of_new * loss;
    slow_ = (1 - slow_share_of_new) * slow_ + slow_share_of_new * loss;
    ++seen_;
    lowest_ = seen_ <= first_steps ? level() : std::min(lowest_, level());
    const double half_way = std::sqrt(std::max(divergence_, 1.0));
    if (level() <= half_way * lowest_) sound_ = {step, word.clone()};
}

// Without the zero that slow_ began with.
double LossWatch::level() const {
    if (seen_ == 0) return 0;
    return slow_ / (1 - std::pow(1 - slow_share_of_new, static_cast<double>(seen_)));
}

bool LossWatch::diverges() const {
    return divergence_ > 0 && seen_ > first_steps && level() > divergence_ * lowest_;
}

bool LossWatch::validate(std::int64_t step, double loss, const at::Tensor& word) {
    if (!std::isfinite(loss) || (best_ && loss >= best_->loss)) {
        ++stale_;
        return false;
    }
    stale_ = 0;
    best_ = Word{step, word.clone(), loss};
    return true;
}

void LossWatch::store(RunState& state) const {
    state.watch = {{"smooth", smooth_}, {"slow", slow_},   {"lowest", lowest_},
                   {"seen", seen_},     {"stale", stale_}, {"sound_step", sound_.step}};
    state.sound = sound_.vector;
    if (!best_) return;
    state.watch["best_step"] = best_->step;
    state.watch["best_loss"] = best_->loss;
    state.best = best_->vector;
}

void LossWatch::restore(const RunState& state) {
    try {
        smooth_ = state.watch.at("smooth").get<double>();
        slow_ = state.watch.at("slow").get<double>();
        lowest_ = state.watch.at("lowest").get<double>();
        seen_ = state.watch.at("seen").get<std::int64_t>();
        stale_ = state.watch.at("stale").get<std::int64_t>();
        sound_ = {state.watch.at("sound_step").get<std::int64_t>(), state.sound};
        if (state.best.defined()) {
            best_ = Word{state.watch.at("best_step").get<std::int64_t>(), state.best,
                         state.watch.at("best_loss").get<double>()};
        }
    } catch (const nlohmann::json::exception&) {
        fail("state: what the run had seen of its losses is damaged. Start anew with `overwrite`");
    }
}

}  // namespace zoodip
