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
    // divergence: how many times its lowest the mean loss may rise to; 0 for any. early_stop:
    // validations without a better word until it is time to stop; 0 for any number.
    LossWatch(double divergence, std::int64_t early_stop)
        : divergence_(divergence), early_stop_(early_stop) {}

    // L(theta) of a step.
    void take(double loss);
    // The exponential mean: the last fifty steps count most.
    double smooth() const { return smooth_; }
    // Whether the mean loss has risen beyond the limit. Judged after the first fifty steps.
    bool diverges() const;
    double lowest() const { return lowest_; }

    // The loss of the fixed samples at this word, float32 [d]. Says whether it is the best so far.
    bool validate(std::int64_t step, double loss, const at::Tensor& word);
    // Whether validation has brought nothing better for so long that it is time to stop.
    bool exhausted() const { return early_stop_ > 0 && stale_ >= early_stop_; }

    struct Best {
        std::int64_t step = 0;
        double loss = 0;
        at::Tensor word;
    };
    const std::optional<Best>& best() const { return best_; }

    // Into a run's state, and back.
    void store(RunState& state) const;
    void restore(const RunState& state);

  private:
    double divergence_;
    std::int64_t early_stop_;
    double smooth_ = 0, lowest_ = 0;
    std::int64_t seen_ = 0, stale_ = 0;
    std::optional<Best> best_;
};

}  // namespace zoodip
