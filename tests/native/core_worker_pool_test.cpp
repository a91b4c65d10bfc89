// A pool does every piece of work once, waits for nobody who does none, and passes errors on.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "core/error.h"
#include "core/worker_pool.h"

namespace zoodip {
namespace {

// Every thread of a region waits in it for all others. In a pool's first region all come; later it
// may work alone for a while.
class Meeting {
  public:
    explicit Meeting(std::size_t all) : all_(all) {}

    void join() {
        std::unique_lock lock(mutex_);
        there_.insert(std::this_thread::get_id());
        changed_.notify_all();
        changed_.wait(lock, [&] { return there_.size() == all_; });
    }

  private:
    std::size_t all_;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::set<std::thread::id> there_;
};

TEST(WorkerPool, AllThreadsWorkTogether) {
    for (int i = 0; i < 20; ++i) {
        for (const int threads : {1, 2, 3, 8}) {
            WorkerPool pool(threads);
            EXPECT_EQ(pool.threads(), threads);
            Meeting meeting(static_cast<std::size_t>(threads));
            pool.run([&] { meeting.join(); });
        }
    }
}

TEST(WorkerPool, NobodyIsInARegionThatIsOver) {
    WorkerPool pool(4);
    for (int i = 0; i < 20000; ++i) {
        std::atomic<int> left = 7, inside = 0, done = 0;
        pool.run([&] {
            ++inside;
            while (--left >= 0) ++done;
            --inside;
        });
        ASSERT_EQ(done, 7);
        ASSERT_EQ(inside, 0);
    }
}

TEST(WorkerPool, WorkersThatSleepAreWoken) {
    for (int i = 0; i < 5; ++i) {
        WorkerPool pool(2);
        std::this_thread::sleep_for(std::chrono::milliseconds(3));  // longer than they spin
        Meeting meeting(2);
        pool.run([&] { meeting.join(); });
    }
}

TEST(WorkerPool, ThrowsWhatItsWorkThrewAndWorksOn) {
    const auto caller = std::this_thread::get_id();
    for (const bool by_caller : {true, false}) {
        WorkerPool pool(3);
        Meeting meeting(3);
        const auto work = [&] {
            meeting.join();
            if ((std::this_thread::get_id() == caller) == by_caller) {
                throw std::runtime_error("work");
            }
        };
        EXPECT_THROW(pool.run(work), std::runtime_error);
        std::atomic<int> came = 0;
        pool.run([&] { ++came; });
        EXPECT_GE(came, 1);
    }
}

// A worker that stays in a region three times as long as the caller was in it.
TEST(WorkerPool, WorksAloneForAWhileWhenItHadToWait) {
    using Clock = std::chrono::steady_clock;
    const auto caller = std::this_thread::get_id();
    const auto was_alone = [&] {
        WorkerPool pool(2);
        Meeting meeting(2);
        std::atomic<bool> left = false;
        const auto begun = Clock::now();
        pool.run([&] {
            meeting.join();
            if (std::this_thread::get_id() == caller) {
                left = true;
                return;
            }
            while (!left) std::this_thread::yield();
            const auto stay = 3 * (Clock::now() - begun);
            std::this_thread::sleep_for(
                std::max<Clock::duration>(stay, std::chrono::milliseconds(5)));
        });
        std::atomic<int> came = 0;
        const auto until = Clock::now() + std::chrono::milliseconds(2);
        pool.run([&] {
            ++came;
            while (Clock::now() < until) std::this_thread::yield();
        });
        return came == 1;
    };
    // The system may take the processor from the caller too, which then did not wait.
    bool alone = false;
    for (int i = 0; i < 50 && !alone; ++i) alone = was_alone();
    EXPECT_TRUE(alone);
}

TEST(WorkerPool, WithinItsOwnWorkItIsOneThread) {
    WorkerPool pool(3);
    std::atomic<int> inner = 0, outer = 0;
    Meeting meeting(3);
    const UsedPool used(&pool);
    pool.run([&] {
        meeting.join();
        ++outer;
        if (WorkerPool::current() != nullptr) pool.run([&] { ++inner; });
    });
    EXPECT_EQ(outer, 3);
    EXPECT_EQ(inner, 1);  // the caller's; workers have no pool
}

TEST(WorkerPool, IsAThreadsOwn) {
    EXPECT_EQ(WorkerPool::current(), nullptr);
    WorkerPool pool(2), other(1);
    {
        const UsedPool used(&pool);
        EXPECT_EQ(WorkerPool::current(), &pool);
        std::thread([] { EXPECT_EQ(WorkerPool::current(), nullptr); }).join();
        const UsedPool inner(&other);
        EXPECT_EQ(WorkerPool::current(), &other);
    }
    EXPECT_EQ(WorkerPool::current(), nullptr);
}

TEST(WorkerPool, CallsWhatThreadsBeginWith) {
    std::atomic<int> begun = 0;
    WorkerPool pool(3, [&] { ++begun; });
    Meeting meeting(3);
    pool.run([&] { meeting.join(); });
    EXPECT_EQ(begun, 2);
}

TEST(WorkerPool, NeedsASensibleNumber) {
    EXPECT_GE(WorkerPool::max_threads, 1024);  // what the setting `threads` may be
    EXPECT_THROW(WorkerPool(0), Error);
    EXPECT_THROW(WorkerPool(WorkerPool::max_threads + 1), Error);
}

}  // namespace
}  // namespace zoodip
