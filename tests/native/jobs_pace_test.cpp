// How fast steps follow one another, by a clock that passes only when told.
#include <cmath>
#include <limits>
#include <optional>

#include <gtest/gtest.h>

#include "jobs/pace.h"

namespace zoodip {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

class PaceTest : public ::testing::Test {
  protected:
    // Steps that take so long each.
    void train(int steps, double seconds) {
        for (int i = 0; i < steps; ++i) {
            now += seconds;
            pace.step(++step, now);
        }
    }
    double speed() const { return pace.steps_a_second().value_or(0); }

    Pace pace;
    double now = 100;
    std::int64_t step = 0;
};

TEST_F(PaceTest, IsUnknownThenGuessedThenMeasured) {
    EXPECT_EQ(pace.steps_a_second(), std::nullopt);
    pace.guess(0.5);
    EXPECT_EQ(speed(), 2.0);
    train(1, 0.25);
    EXPECT_EQ(speed(), 2.0);  // between one step and none there is no time
    train(10, 0.25);
    EXPECT_NEAR(speed(), 4.0, 1e-9);
    pace.guess(0.5);
    EXPECT_NEAR(speed(), 4.0, 1e-9);
}

TEST_F(PaceTest, LeavesOutAGuessThatIsNone) {
    for (const double bad : {0.0, -1.0, std::nan(""), infinity}) pace.guess(bad);
    EXPECT_EQ(pace.steps_a_second(), std::nullopt);
}

// Previews, validations and other stages, before a step and behind it.
TEST_F(PaceTest, LeavesOutWhatIsNoStep) {
    for (int i = 1; i < 50; ++i) {
        train(1, 0.5);
        if (i % 5 != 0) continue;
        now += 60;
        pace.pause();
        if (i % 2 == 0) now += 60;
    }
    EXPECT_NEAR(speed(), 2.0, 1e-9);
}

TEST_F(PaceTest, FollowsAChange) {
    train(100, 0.01);
    train(60, 10.0);
    EXPECT_NEAR(speed(), 0.1, 0.005);
    train(4000, 0.01);
    EXPECT_NEAR(speed(), 100, 5);
}

TEST_F(PaceTest, IsMovedLittleByOneSlowStepOfMany) {
    train(2000, 0.01);
    train(1, 0.5);
    EXPECT_NEAR(speed(), 100, 10);
}

TEST_F(PaceTest, HasNoInfinityWhereTheClockStandsStill) {
    train(10, 0.0);
    EXPECT_EQ(pace.steps_a_second(), std::nullopt);
    pace.guess(0.5);
    EXPECT_EQ(speed(), 2.0);
}

TEST_F(PaceTest, CountsNoStepThatIsDoneAgain) {
    train(20, 0.5);
    step -= 5;
    train(3, 0.5);
    EXPECT_GT(speed(), 0);
    EXPECT_NEAR(speed(), 2.0, 1e-9);
    now -= 1000;  // a clock that was set back
    train(3, 0.5);
    EXPECT_NEAR(speed(), 2.0, 1e-9);
}

}  // namespace
}  // namespace zoodip
