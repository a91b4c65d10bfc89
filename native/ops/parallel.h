// Work shared out among the threads of a run (core/worker_pool.h); without a pool, on this thread.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <tuple>
#include <utility>

#include "core/worker_pool.h"

namespace zoodip {

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

    // body(begin, end) for each span of tasks that this thread takes, until none is left.
    template <class Body>
    void each_span(const Body& body) {
        for (auto [begin, end] = take(); begin < end; std::tie(begin, end) = take()) {
            body(begin, end);
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

// work(tasks) on every thread that comes while there is something to do, where tasks.each hands out
// [0, count).
template <class Work>
void share_tasks(std::int64_t count, const Work& work) {
    WorkerPool* pool = WorkerPool::current();
    const std::int64_t threads =
        pool == nullptr ? 1 : std::min<std::int64_t>(count, pool->threads());
    SharedTasks tasks(count, std::max<std::int64_t>(1, threads));
    if (threads <= 1) return work(tasks);
    pool->run([&] { work(tasks); });
}

// Calls body(begin, end) for ranges that together are [0, count), each but the last of a multiple
// of `grain`.
template <class Body>
void parallel_ranges(std::int64_t count, std::int64_t grain, const Body& body) {
    const std::int64_t pieces = (count + grain - 1) / grain;
    share_tasks(pieces, [&](SharedTasks& tasks) {
        tasks.each_span([&](std::int64_t begin, std::int64_t end) {
            body(begin * grain, std::min(end * grain, count));
        });
    });
}

// The same for rows, in ranges with enough numbers to outweigh handing them to a thread.
template <class Body>
void parallel_rows(std::int64_t rows, std::int64_t row_length, const Body& body) {
    parallel_ranges(rows, std::max<std::int64_t>(1, 32768 / std::max<std::int64_t>(1, row_length)),
                    body);
}

}  // namespace zoodip
