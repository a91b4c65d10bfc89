// Every task is done once, whichever thread takes it.
#include <atomic>
#include <cstdint>
#include <stdexcept>
#include <vector>

#include <gtest/gtest.h>

#include "ops/parallel_rows.h"

namespace zoodip {
namespace {

TEST(SharedTasks, AreDoneOnceEach) {
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
}

}  // namespace
}  // namespace zoodip
