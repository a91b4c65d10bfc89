// Cooperative cancellation: a value that is handed down and looked at in every block of work.
#pragma once

#include <atomic>
#include <memory>

#include "core/error.h"

namespace zoodip {

// Copies share one flag, so that an edge can keep one copy and hand another down.
// cancel() may be called from any thread.
class CancelToken {
  public:
    CancelToken() : flag_(std::make_shared<std::atomic<bool>>(false)) {}

    void cancel() const noexcept { flag_->store(true, std::memory_order_relaxed); }
    bool cancelled() const noexcept { return flag_->load(std::memory_order_relaxed); }

    // Throws Cancelled once cancel() was called.
    void check() const {
        if (cancelled()) throw Cancelled();
    }

  private:
    std::shared_ptr<std::atomic<bool>> flag_;
};

}  // namespace zoodip
