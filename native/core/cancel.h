// Cooperative cancellation: a value that is handed down and looked at in every block of work.
#pragma once

#include <algorithm>
#include <atomic>
#include <memory>
#include <utility>
#include <vector>

#include "core/error.h"

namespace zoodip {

// Copies share one flag, so that an edge can keep one copy and hand another down.
// cancel() may be called from any thread.
class CancelToken {
  public:
    CancelToken() : flag_(std::make_shared<std::atomic<bool>>(false)) {}

    // Cancelled once all of these are, or it is itself: of work that they share.
    explicit CancelToken(std::vector<CancelToken> all) : CancelToken() {
        if (!all.empty()) all_ = std::make_shared<const std::vector<CancelToken>>(std::move(all));
    }

    void cancel() const noexcept { flag_->store(true, std::memory_order_relaxed); }
    bool cancelled() const noexcept {
        if (flag_->load(std::memory_order_relaxed)) return true;
        return all_ != nullptr && std::all_of(all_->begin(), all_->end(),
                                              [](const auto& one) { return one.cancelled(); });
    }

    // Throws Cancelled once cancel() was called.
    void check() const {
        if (cancelled()) throw Cancelled();
    }

  private:
    std::shared_ptr<std::atomic<bool>> flag_;
    std::shared_ptr<const std::vector<CancelToken>> all_;  // null for none
};

}  // namespace zoodip
