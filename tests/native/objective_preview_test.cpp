// Previews keep to their share of the time, whatever they cost.
#include <gtest/gtest.h>

#include "objective/preview.h"

namespace zoodip {
namespace {

struct Clock {
    double seconds = 100;
    PreviewBudget::Seconds now() {
        return [this] { return seconds; };
    }
};

TEST(PreviewBudget, StaysUnderItsShareWhenPreviewsCostMoreThanExpected) {
    Clock clock;
    PreviewBudget budget(0.1, 0.5, clock.now());
    int drawn = 0;
    for (int step = 0; step < 5000; ++step) {
        clock.seconds += 0.1;
        if (!budget.due()) continue;
        ++drawn;
        budget.spend([&] { clock.seconds += 3; });
        // Only the first one costs what nobody had expected.
        if (drawn > 1) {
            EXPECT_LE(budget.spent(), 0.1 * (clock.seconds - 100) + 1e-9);
        }
    }
    EXPECT_NEAR(drawn, 0.1 * (clock.seconds - 100) / 3, 1);  // and uses it up
}

TEST(PreviewBudget, DrawsNothingBeforeItHasEarnedTheFirst) {
    Clock clock;
    const PreviewBudget budget(0.05, 1, clock.now());
    clock.seconds += 18.9;  // 1 of 19.9 seconds is more than a twentieth
    EXPECT_FALSE(budget.due());
    clock.seconds += 0.2;
    EXPECT_TRUE(budget.due());
}

TEST(PreviewBudget, WithoutAShareDrawsNothing) {
    Clock clock;
    const PreviewBudget budget(0, 0, clock.now());
    clock.seconds += 1e9;
    EXPECT_FALSE(budget.due());
}

}  // namespace
}  // namespace zoodip
