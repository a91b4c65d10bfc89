// What a run's losses tell: how it goes, which word was best, whether to go on.
#pragma once

#include <cstdint>
#include <optional>

#include <ATen/core/Tensor.h>
#include <nlohmann/json.hpp>

#include "train/run_state.h"

namespace zoodip {

class LossWatch {
  public:
    // divergence: how many times its lowest level() may rise to; 0 for any. early_stop:
    // validations without a better word until it is time to stop; 0 for any number.
    LossWatch(double divergence, std::int64_t early_stop)
        : divergence_(divergence), early_stop_(early_stop) {}

    struct Word {
        std::int64_t step = 0;
        at::Tensor vector;  // float32 [d]
        double loss = 0;    // of its validation; 0 for one that was not validated
    };

    // L(theta) of a step, and the word that it led to.
    void take(std::int64_t step, double loss, const at::Tensor& word);
    // The exponential mean that is shown: the last fifty steps count most.
    double smooth() const { return smooth_; }
    // The mean that tells whether losses rise: the last 250 steps count most. Losses of single
    // samples scatter by more than their mean. Where they are log-normal with a deviation of 1.3
    // times their mean, a mean of fifty rises to three times its lowest in two of five healthy runs
    // of 30000 steps; this one reached 2.1 times in the worst of 200.
    double level() const;
    // The smallest that level() was, from the fiftieth step on.
    double lowest() const { return lowest_; }
    // Whether level() has risen beyond the limit. Judged after the first fifty steps.
    bool diverges() const;
    // The latest word at which level() had not risen half of the way to the limit, in factors: that
    // much is chance. Undefined before the first step.
    const Word& sound() const { return sound_; }

    // The loss of the fixed samples at this word. Says whether it is the best so far, which no loss
    // is that is not finite.
    bool validate(std::int64_t step, double loss, const at::Tensor& word);
    // Whether validation has brought nothing better for so long that it is time to stop.
    bool exhausted() const { return early_stop_ > 0 && stale_ >= early_stop_; }
    const std::optional<Word>& best() const { return best_; }

    // Into a run's state, and back.
    void store(RunState& state) const;
    void restore(const RunState& state);

  private:
    double divergence_;
    std::int64_t early_stop_;
    double smooth_ = 0, slow_ = 0, lowest_ = 0;
    std::int64_t seen_ = 0, stale_ = 0;
    Word sound_;
    std::optional<Word> best_;
};

}  // namespace zoodip
