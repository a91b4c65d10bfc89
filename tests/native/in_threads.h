// Threads for tests of what may be called from several at once.
#pragma once

#include <barrier>
#include <functional>
#include <thread>
#include <vector>

namespace zoodip {

// Runs work(0) .. work(count - 1), each in a thread of its own, all let go at the same moment.
// `work` must not throw.
inline void in_threads(int count, const std::function<void(int)>& work) {
    std::barrier start(count);
    std::vector<std::thread> threads;
    for (int i = 0; i < count; ++i) {
        threads.emplace_back([&, i] {
            start.arrive_and_wait();
            work(i);
        });
    }
    for (std::thread& thread : threads) thread.join();
}

}  // namespace zoodip
