// What a run's losses decide: the mean, divergence, the best word, when to stop; and that none of
// it is lost with a process.
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <string>
#include <unistd.h>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "train/loss_watch.h"

namespace zoodip {
namespace {

at::Tensor word(double value) {
    return at::full({3}, value, at::kFloat);
}

// Takes in `count` equal losses; the word after a step is its number.
void take(LossWatch& watch, std::int64_t& step, double loss, int count) {
    for (int i = 0; i < count; ++i) {
        ++step;
        watch.take(step, loss, word(static_cast<double>(step)));
    }
}

TEST(LossWatch, SmoothIsTheExponentialMean) {
    LossWatch watch(3, 0);
    watch.take(1, 0.5, word(1));
    EXPECT_EQ(watch.smooth(), 0.5);
    watch.take(2, 1.5, word(2));
    EXPECT_DOUBLE_EQ(watch.smooth(), 0.98 * 0.5 + 0.02 * 1.5);
}

// Exactly: the weights of the losses so far add up to one.
TEST(LossWatch, LevelIsTheSlowerMeanWithoutBias) {
    LossWatch watch(3, 0);
    EXPECT_EQ(watch.level(), 0);
    watch.take(1, 0.5, word(1));
    EXPECT_NEAR(watch.level(), 0.5, 1e-13);  // 1 - 0.996 cancels
    watch.take(2, 1.5, word(2));
    EXPECT_NEAR(watch.level(), (0.996 * 0.5 + 1.5) / 1.996, 1e-13);
}

TEST(LossWatch, DivergesAboveItsLimit) {
    LossWatch watch(3, 0);
    std::int64_t step = 0;
    take(watch, step, 1, 60);
    EXPECT_NEAR(watch.lowest(), 1, 1e-14);
    // k losses of 100 behind 60 of 1 make 1 + 99 (1 - 0.996^k) / (1 - 0.996^(60 + k)): 2.8,
    // then 4.6.
    take(watch, step, 100, 1);
    EXPECT_FALSE(watch.diverges());
    take(watch, step, 100, 1);
    EXPECT_TRUE(watch.diverges());
}

TEST(LossWatch, DoesNotJudgeTheFirstFiftySteps) {
    LossWatch watch(3, 0);
    std::int64_t step = 0;
    take(watch, step, 0.01, 1);
    take(watch, step, 1, 49);
    EXPECT_FALSE(watch.diverges());
    EXPECT_EQ(watch.lowest(), watch.level());
    EXPECT_GT(watch.lowest(), 0.9);  // not the 0.01 of the first step
    EXPECT_EQ(watch.sound().step, 50);
    take(watch, step, 1, 300);
    EXPECT_FALSE(watch.diverges());
}

TEST(LossWatch, ZeroIsNoLimit) {
    LossWatch watch(0, 0);
    std::int64_t step = 0;
    take(watch, step, 1, 60);
    take(watch, step, 1e6, 60);
    EXPECT_FALSE(watch.diverges());
}

TEST(LossWatch, KeepsTheWordFromBeforeLossesRose) {
    LossWatch watch(9, 0);
    std::int64_t step = 0;
    take(watch, step, 1, 60);
    EXPECT_EQ(watch.sound().step, 60);
    // k losses of 51 behind 60 of 1 make 1 + 50 (1 - 0.996^k) / (1 - 0.996^(60 + k)): 1.9 and 2.8
    // are below half of the way to 9 in factors, 3.7 is not.
    take(watch, step, 51, 3);
    EXPECT_FALSE(watch.diverges());
    EXPECT_EQ(watch.sound().step, 62);
    EXPECT_TRUE(at::equal(watch.sound().vector, word(62)));
}

TEST(LossWatch, KeepsACopyOfTheWord) {
    LossWatch watch(3, 0);
    at::Tensor moving = word(1);
    watch.take(1, 0.5, moving);
    watch.validate(1, 0.5, moving);
    moving.fill_(7);
    EXPECT_TRUE(at::equal(watch.sound().vector, word(1)));
    EXPECT_TRUE(at::equal(watch.best()->vector, word(1)));
}

TEST(LossWatch, TheBestWordIsThatOfTheLowestValidation) {
    LossWatch watch(3, 0);
    EXPECT_FALSE(watch.best());
    EXPECT_TRUE(watch.validate(5, 0.3, word(5)));
    EXPECT_FALSE(watch.validate(10, 0.3, word(10)));  // the first of equals
    EXPECT_TRUE(watch.validate(15, 0.2, word(15)));
    EXPECT_FALSE(watch.validate(20, 0.25, word(20)));
    EXPECT_EQ(watch.best()->step, 15);
    EXPECT_EQ(watch.best()->loss, 0.2);
    EXPECT_TRUE(at::equal(watch.best()->vector, word(15)));
    EXPECT_FALSE(watch.exhausted());  // 0: never
}

TEST(LossWatch, NoLossThatIsNotFiniteIsTheBest) {
    for (const double bad : {std::nan(""), std::numeric_limits<double>::infinity()}) {
        LossWatch watch(3, 0);
        EXPECT_FALSE(watch.validate(5, bad, word(5)));
        EXPECT_FALSE(watch.best());
        EXPECT_TRUE(watch.validate(10, 0.3, word(10)));
        EXPECT_FALSE(watch.validate(15, bad, word(15)));
        EXPECT_EQ(watch.best()->step, 10);
    }
}

TEST(LossWatch, StopsEarlyAfterSoManyValidationsWithoutABetterWord) {
    LossWatch watch(3, 2);
    watch.validate(5, 0.3, word(5));
    watch.validate(10, 0.4, word(10));
    EXPECT_FALSE(watch.exhausted());
    watch.validate(15, 0.2, word(15));  // better: counting starts anew
    watch.validate(20, 0.4, word(20));
    EXPECT_FALSE(watch.exhausted());
    watch.validate(25, 0.3, word(25));
    EXPECT_TRUE(watch.exhausted());
}

std::filesystem::path temporary(const char* name) {
    return std::filesystem::temp_directory_path() / (std::to_string(getpid()) + name);
}

// Numbers that no short decimal is equal to come back bit for bit, through the file.
TEST(LossWatch, GoesOnFromAStateAsIfItHadNeverStopped) {
    const auto file = temporary("loss_watch.safetensors");
    LossWatch whole(2.5, 3);
    const auto loss = [](std::int64_t step) { return std::exp(std::sin(double(step)) / 3); };
    const auto go = [&](LossWatch& watch, std::int64_t from, std::int64_t to) {
        for (std::int64_t step = from; step <= to; ++step) {
            watch.take(step, loss(step), word(1 / double(step)));
            if (step % 10 == 0) watch.validate(step, loss(3 * step), word(1 / double(step)));
        }
    };
    go(whole, 1, 130);
    for (const std::int64_t stop : {1, 9, 10, 50, 51, 99}) {
        LossWatch before(2.5, 3), after(2.5, 3);
        go(before, 1, stop);
        RunState state;
        state.theta = state.m = state.v = word(0);
        state.average = word(0).to(at::kDouble);
        before.store(state);
        save_run(file, {state, nlohmann::json::object()});
        after.restore(load_run(file).state);
        go(after, stop + 1, 130);
        EXPECT_EQ(after.smooth(), whole.smooth()) << stop;
        EXPECT_EQ(after.level(), whole.level()) << stop;
        EXPECT_EQ(after.lowest(), whole.lowest()) << stop;
        EXPECT_EQ(after.exhausted(), whole.exhausted()) << stop;
        EXPECT_EQ(after.sound().step, whole.sound().step) << stop;
        EXPECT_TRUE(at::equal(after.sound().vector, whole.sound().vector)) << stop;
        EXPECT_EQ(after.best()->step, whole.best()->step) << stop;
        EXPECT_EQ(after.best()->loss, whole.best()->loss) << stop;
        EXPECT_TRUE(at::equal(after.best()->vector, whole.best()->vector)) << stop;
    }
    std::filesystem::remove(file);
}

TEST(LossWatch, RefusesADamagedState) {
    RunState state;
    LossWatch watch(3, 0);
    EXPECT_THROW(watch.restore(state), Error);
}

}  // namespace
}  // namespace zoodip
