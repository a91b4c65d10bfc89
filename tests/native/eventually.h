// Waiting for what other threads do. The deadline is only for a test that fails.
#pragma once

#include <chrono>
#include <thread>

namespace zoodip {

inline constexpr std::chrono::seconds patience{60};

// Whether `holds` comes true.
template <class Condition>
bool eventually(Condition&& holds) {
    const auto deadline = std::chrono::steady_clock::now() + patience;
    while (!holds()) {
        if (std::chrono::steady_clock::now() > deadline) return false;
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return true;
}

}  // namespace zoodip
