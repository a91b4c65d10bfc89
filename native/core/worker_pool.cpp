#include "core/worker_pool.h"

#include <utility>

#include "core/error.h"
#include "core/thread_name.h"

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

namespace zoodip {
namespace {

constexpr std::uint32_t inside = WorkerPool::max_threads, open = inside + 1,
                        region_step = open << 1;
using Clock = std::chrono::steady_clock;

// Longer than what lies between two regions of a step, and a small part of what the system's
// scheduler gives to whoever waits for the processor.
constexpr std::chrono::microseconds spin{300};
// A worker that lost its processor in the middle of a piece of work holds up all others until it
// has one again. Where that took longer than the work itself, the caller works alone for so many
// times as long: on a part of the processors that is quicker than waiting again and again.
constexpr std::chrono::microseconds long_wait{200};
constexpr int alone = 10;

thread_local WorkerPool* pool_of_thread = nullptr;

void pause() {
#if defined(__x86_64__) || defined(_M_X64)
    _mm_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

// Waits until `done` of the value; sleeps after a while.
template <class Done>
std::uint32_t await(const std::atomic<std::uint32_t>& value, const Done& done) {
    std::uint32_t now = value.load(std::memory_order_acquire);
    if (done(now)) return now;
    const auto end = Clock::now() + spin;
    do {
        for (int i = 0; i < 8; ++i) {
            pause();
            now = value.load(std::memory_order_acquire);
            if (done(now)) return now;
        }
    } while (Clock::now() < end);
    while (!done(now)) {
        value.wait(now, std::memory_order_acquire);
        now = value.load(std::memory_order_acquire);
    }
    return now;
}

}  // namespace

WorkerPool::WorkerPool(int threads, const std::function<void()>& on_start) {
    require(threads > 0 && threads <= max_threads, "threads: needs 1 to ", max_threads, ", got ",
            threads);
    try {
        workers_.reserve(static_cast<std::size_t>(threads - 1));
        while (this->threads() < threads) {
            workers_.emplace_back([this, on_start] {
                name_this_thread("zoodip-worker");
                if (on_start) on_start();
                serve();
            });
        }
    } catch (const std::exception&) {
        // Those that are there do the work.
    }
}

WorkerPool::~WorkerPool() {
    end();
}

void WorkerPool::end() noexcept {
    ending_ = true;
    gate_.fetch_add(region_step);
    gate_.notify_all();
    for (std::thread& worker : workers_) worker.join();
    workers_.clear();
}

WorkerPool* WorkerPool::current() {
    return pool_of_thread;
}

void WorkerPool::run(const Region& region) {
    if (running_ || workers_.empty()) return region.call(region.work);
    const auto begun = Clock::now();
    if (begun < alone_until_) return region.call(region.work);
    running_ = true;
    region_ = region;
    failure_ = nullptr;
    const std::uint32_t left = left_.load();
    gate_.fetch_add(region_step | open, std::memory_order_release);
    gate_.notify_all();
    perform();
    if ((gate_.fetch_and(~open, std::memory_order_acq_rel) & inside) != 0) {
        const auto done = Clock::now();
        await(left_, [left](std::uint32_t now) { return now != left; });
        const auto waited = Clock::now() - done;
        if (waited > long_wait && waited > done - begun) alone_until_ = done + alone * waited;
    }
    running_ = false;
    if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

// A worker's life. What it met last is a region that it has been in, or that was over.
void WorkerPool::serve() {
    std::uint32_t met = 0;
    for (;;) {
        std::uint32_t now = await(
            gate_, [met](std::uint32_t gate) { return gate / region_step != met / region_step; });
        if (ending_) return;
        met = now;
        while ((now & open) != 0 && now / region_step == met / region_step) {
            if (!gate_.compare_exchange_weak(now, now + 1, std::memory_order_acq_rel)) continue;
            perform();
            const std::uint32_t before = gate_.fetch_sub(1, std::memory_order_acq_rel);
            if ((before & (inside | open)) == 1) {
                left_.fetch_add(1, std::memory_order_release);
                left_.notify_one();
            }
            break;
        }
    }
}

void WorkerPool::perform() noexcept {
    try {
        region_.call(region_.work);
    } catch (...) {
        const std::lock_guard lock(failing_);
        if (!failure_) failure_ = std::current_exception();
    }
}

UsedPool::UsedPool(WorkerPool* pool) : before_(std::exchange(pool_of_thread, pool)) {}

UsedPool::~UsedPool() {
    pool_of_thread = before_;
}

}  // namespace zoodip
