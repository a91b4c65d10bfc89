// Every task is done once, whichever thread takes it.
#include <atomic>
#include <cstdint>
#include <stdexcept>
#include <vector>

#include <gtest/gtest.h>

#include "ops/parallel.h"

namespace zoodip {
namespace {

TEST(SharedTasks, AreDoneOnceEach) {
    WorkerPool pool(3);
    const UsedPool used(&pool);
    for (const std::int64_t count : {0, 1, 2, 3, 7, 64, 1000}) {
        std::vector<std::atomic<int>> done(static_cast<std::size_t>(count));
        share_tasks(count, [&](SharedTasks& tasks) {
            tasks.each([&](std::int64_t task) { ++done[static_cast<std::size_t>(task)]; });
        });
        for (const auto& times : done) EXPECT_EQ(times, 1) << count;
    }
}

TEST(SharedTasks, ComeToAThreadInOrder) {
    SharedTasks tasks(100, 3);
    std::vector<std::int64_t> taken;
    tasks.each([&](std::int64_t task) { taken.push_back(task); });
    ASSERT_EQ(taken.size(), 100u);
    for (std::size_t i = 0; i < taken.size(); ++i) {
        EXPECT_EQ(taken[i], static_cast<std::int64_t>(i));
    }
}

TEST(SharedTasks, LetAnErrorThrough) {
    const auto work = [](SharedTasks& tasks) {
        tasks.each([](std::int64_t task) {
            if (task == 5) throw std::runtime_error("five");
        });
    };
    EXPECT_THROW(share_tasks(20, work), std::runtime_error);
    WorkerPool pool(3);
    const UsedPool used(&pool);
    EXPECT_THROW(share_tasks(20, work), std::runtime_error);
}

TEST(ParallelRanges, CoverAllOnceInWholeGrains) {
    WorkerPool pool(3);
    const UsedPool used(&pool);
    for (const std::int64_t count : {0, 1, 5, 64, 1000, 1001}) {
        for (const std::int64_t grain : {1, 7, 64, 5000}) {
            std::vector<std::atomic<int>> done(static_cast<std::size_t>(count));
            std::atomic<bool> whole = true;
            parallel_ranges(count, grain, [&](std::int64_t begin, std::int64_t end) {
                if (begin % grain != 0 || (end % grain != 0 && end != count)) whole = false;
                for (std::int64_t i = begin; i < end; ++i) ++done[static_cast<std::size_t>(i)];
            });
            EXPECT_TRUE(whole);
            for (const auto& times : done) EXPECT_EQ(times, 1) << count << " by " << grain;
        }
    }
}

}  // namespace
}  // namespace zoodip
