// The clock by which work is timed.
#pragma once

#include <chrono>

namespace zoodip {

// Seconds of a clock that never goes back; since when is nobody's business.
inline double seconds_now() {
    const auto since = std::chrono::steady_clock::now().time_since_epoch();
    return std::chrono::duration<double>(since).count();
}

}  // namespace zoodip
