// Small pictures of what the word has become, drawn while it is learned.
#pragma once

#include <cstdint>
#include <functional>
#include <utility>

#include <ATen/core/Tensor.h>

#include "objective/objective.h"
#include "words/captions.h"
#include "words/token_layout.h"

namespace zoodip {

// Keeps previews within a share of the run's time: the next is due once, with what it is expected
// to cost, all previews together stay under `share` of the time since the start.
class PreviewBudget {
  public:
    using Seconds = std::function<double()>;  // a monotonic clock

    // share: from 0 (never) to 1. expected: seconds that the first preview will take.
    PreviewBudget(double share, double expected, Seconds now)
        : share_(share), expected_(expected), now_(std::move(now)), start_(now_()) {}

    bool due() const {
        return share_ > 0 && spent_ + expected_ <= share_ * (now_() - start_ + expected_);
    }
    // Runs `draw` and counts its time.
    template <class Draw>
    void spend(Draw&& draw) {
        const double before = now_();
        draw();
        expected_ = now_() - before;
        spent_ += expected_;
    }
    double spent() const { return spent_; }

  private:
    double share_, expected_;
    Seconds now_;
    double start_, spent_ = 0;
};

// Draws the first picture's caption from noise of a fixed seed, with guidance.
class Previewer {
  public:
    static constexpr std::int64_t steps = 10;
    static constexpr double guidance = 5;

    Previewer(DiffusionObjective::Parts parts, TokenLayout layout, PreparedText text,
              PreparedText empty_text, std::int64_t resolution);

    // theta: float32 [d]. Returns x0 in the UNet's scale, float32 [1, 4, side / 8, side / 8], on
    // the device. Throws Cancelled.
    at::Tensor draw(const at::Tensor& theta);

    // How many rows pass through the UNet for one preview.
    static constexpr std::int64_t rows() { return 2 * steps; }

  private:
    DiffusionObjective::Parts parts_;
    TokenLayout layout_;
    PreparedText text_;
    Conditioning empty_;  // one row
    at::Tensor noise_;
};

}  // namespace zoodip
