// Work shared out among torch's threads.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <tuple>
#include <utility>

#include <ATen/Parallel.h>

namespace zoodip {

// Calls body(begin, end) for ranges of rows that together are [0, rows), each with enough numbers
// to outweigh handing it to a thread.
template <class Body>
void parallel_rows(std::int64_t rows, std::int64_t row_length, const Body& body) {
    const std::int64_t grain =
        std::max<std::int64_t>(1, 32768 / std::max<std::int64_t>(1, row_length));
    at::parallel_for(0, rows, grain, body);
}

// Tasks for whichever thread is free: long spans first, then ever shorter ones, so that all threads
// end together though one of them is slower, and neighbours mostly stay with one.
class SharedTasks {
  public:
    SharedTasks(std::int64_t count, std::int64_t threads) : count_(count), threads_(threads) {}

    // body(task) for each task that this thread takes, until none is left.
    template <class Body>
    void each(const Body& body) {
        for (auto [task, end] = take(); task < end; std::tie(task, end) = take()) {
            for (; task < end; ++task) body(task);
        }
    }

  private:
    std::pair<std::int64_t, std::int64_t> take() {
        std::int64_t begin = next_.load(std::memory_order_relaxed), end = 0;
        do {
            end = begin + (count_ - begin + 2 * threads_ - 1) / (2 * threads_);
        } while (!next_.compare_exchange_weak(begin, end, std::memory_order_relaxed));
        return {begin, end};
    }

    const std::int64_t count_, threads_;
    std::atomic<std::int64_t> next_ = 0;
};

// work(tasks) once on every thread, where tasks.each hands out [0, count).
template <class Work>
void share_tasks(std::int64_t count, const Work& work) {
    const std::int64_t threads = std::min<std::int64_t>(count, at::get_num_threads());
    SharedTasks tasks(count, std::max<std::int64_t>(1, threads));
    at::parallel_for(0, threads, 1, [&](std::int64_t, std::int64_t) { work(tasks); });
}

}  // namespace zoodip
