#include "train/loss_watch.h"

#include <algorithm>

#include "core/error.h"

namespace zoodip {
namespace {

constexpr double share_of_new = 0.02;
constexpr std::int64_t first_steps = 50;  // until the mean is one of several pictures and timesteps

}  // namespace

void LossWatch::take(double loss) {
    smooth_ = seen_ == 0 ? loss : (1 - share_of_new) * smooth_ + share_of_new * loss;
    ++seen_;
    if (seen_ == first_steps) lowest_ = smooth_;
    if (seen_ > first_steps) lowest_ = std::min(lowest_, smooth_);
}

bool LossWatch::diverges() const {
    return divergence_ > 0 && seen_ > first_steps && smooth_ > divergence_ * lowest_;
}

bool LossWatch::validate(std::int64_t step, double loss, const at::Tensor& word) {
    if (best_ && loss >= best_->loss) {
        ++stale_;
        return false;
    }
    stale_ = 0;
    best_ = Best{step, loss, word.clone()};
    return true;
}

void LossWatch::store(RunState& state) const {
    state.watch = {{"smooth", smooth_}, {"lowest", lowest_}, {"seen", seen_}, {"stale", stale_}};
    if (!best_) return;
    state.watch["best_step"] = best_->step;
    state.watch["best_loss"] = best_->loss;
    state.best = best_->word;
}

void LossWatch::restore(const RunState& state) {
    try {
        smooth_ = state.watch.at("smooth").get<double>();
        lowest_ = state.watch.at("lowest").get<double>();
        seen_ = state.watch.at("seen").get<std::int64_t>();
        stale_ = state.watch.at("stale").get<std::int64_t>();
        if (state.best.defined()) {
            best_ = Best{state.watch.at("best_step").get<std::int64_t>(),
                         state.watch.at("best_loss").get<double>(), state.best};
        }
    } catch (const nlohmann::json::exception&) {
        fail("state: what the run had seen of its losses is damaged. Start anew with --overwrite");
    }
}

}  // namespace zoodip
