// How fast a job's steps follow one another.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>

namespace zoodip {

// Steps a second: an exponential mean over the last ten steps or five seconds, what is more. Not
// safe from several threads.
class Pace {
  public:
    // What to say until something was measured.
    void guess(double seconds_a_step) {
        if (std::isfinite(seconds_a_step) && seconds_a_step > 0) guess_ = 1 / seconds_a_step;
    }
    // Something other than steps takes time: the time until the next step is not counted.
    void pause() { last_.reset(); }
    // A step ended at `now`, in seconds.
    void step(std::int64_t step, double now) {
        if (last_ && step > last_->step && now >= last_->at) {
            const double seconds = now - last_->at;
            const double fade = std::max(std::exp(-seconds / 5), 0.9);
            steps_ = fade * steps_ + static_cast<double>(step - last_->step);
            seconds_ = fade * seconds_ + seconds;
        }
        last_ = Mark{step, now};
    }
    // Nothing while it is unknown.
    std::optional<double> steps_a_second() const {
        return seconds_ > 0 ? std::optional(steps_ / seconds_) : guess_;
    }

  private:
    struct Mark {
        std::int64_t step;
        double at;
    };
    double steps_ = 0, seconds_ = 0;
    std::optional<double> guess_;
    std::optional<Mark> last_;
};

}  // namespace zoodip
