// Which timesteps are drawn: their distributions, ranges and determinism.
#include <cmath>
#include <cstdint>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "core/error.h"
#include "diffusion/timestep_plan.h"

namespace zoodip {
namespace {

constexpr std::int64_t draws = 200000;
constexpr std::uint64_t seed = 11;

TimestepPlan plan(Timesteps kind, std::int64_t lower, std::int64_t upper) {
    return {kind, lower, upper, NoiseSchedule()};
}

// How often each of the thousand timesteps was drawn.
std::vector<std::int64_t> counts(const TimestepPlan& timesteps) {
    std::vector<std::int64_t> all(1000, 0);
    for (std::int64_t i = 0; i < draws; ++i) {
        ++all.at(static_cast<std::size_t>(timesteps.draw(seed, static_cast<std::uint64_t>(i))));
    }
    return all;
}

// Pearson's X^2 of counts against probabilities p, over the timesteps with p > 0, k of them. Its
// mean is k - 1, its variance 2 (k - 1) + (sum 1/p - k^2 - 2k + 2) / N.
void expect_distribution(const std::vector<std::int64_t>& found, const std::vector<double>& p) {
    const auto total = static_cast<double>(draws);
    double statistic = 0, inverse = 0, k = 0;
    for (std::size_t t = 0; t < p.size(); ++t) {
        if (p[t] == 0) {
            EXPECT_EQ(found[t], 0) << t;
            continue;
        }
        const double off = static_cast<double>(found[t]) - total * p[t];
        statistic += off * off / (total * p[t]);
        inverse += 1 / p[t];
        ++k;
    }
    const double variance = 2 * (k - 1) + (inverse - k * k - 2 * k + 2) / total;
    EXPECT_NEAR(statistic, k - 1, 6 * std::sqrt(variance));
}

std::vector<double> even(std::int64_t lower, std::int64_t upper) {
    std::vector<double> p(1000, 0);
    for (std::int64_t t = lower; t < upper; ++t) {
        p[static_cast<std::size_t>(t)] = 1 / static_cast<double>(upper - lower);
    }
    return p;
}

TEST(TimestepPlan, PutsIsEvenWithinItsRange) {
    expect_distribution(counts(plan(Timesteps::puts, 500, 900)), even(500, 900));
    expect_distribution(counts(plan(Timesteps::puts, 0, 1000)), even(0, 1000));
}

TEST(TimestepPlan, UniformIsEvenWhateverTheRange) {
    expect_distribution(counts(plan(Timesteps::uniform, 500, 900)), even(0, 1000));
}

TEST(TimestepPlan, SnrFollowsTheNoise) {
    const NoiseSchedule schedule;
    std::vector<double> p;
    double sum = 0;
    for (std::int64_t t = 0; t < 1000; ++t) {
        p.push_back(1 - schedule.alphas_cumprod(t));
        sum += p.back();
    }
    for (double& one : p) one /= sum;
    expect_distribution(counts(plan(Timesteps::snr, 500, 900)), p);
}

TEST(TimestepPlan, StratifiedTakesOneOfEachTenthInTenDraws) {
    const TimestepPlan timesteps = plan(Timesteps::stratified, 500, 900);
    std::set<std::vector<std::int64_t>> orders;
    for (std::uint64_t round = 0; round < 200; ++round) {
        std::vector<std::int64_t> order;
        for (std::uint64_t i = 0; i < 10; ++i) {
            const std::int64_t t = timesteps.draw(seed, 10 * round + i);
            ASSERT_GE(t, 500);
            ASSERT_LT(t, 900);
            order.push_back((t - 500) / 40);
        }
        EXPECT_EQ(std::set<std::int64_t>(order.begin(), order.end()).size(), 10u) << round;
        orders.insert(order);
    }
    EXPECT_EQ(orders.size(), 200u);  // of 3.6 million: two equal ones with probability 0.006
}

// Within its tenth a draw is even, so that all timesteps are drawn equally often; the counts of
// tenths are exact, which takes nine dimensions out of X^2 and only makes it smaller.
TEST(TimestepPlan, StratifiedIsEvenWithinATenth) {
    const std::vector<std::int64_t> found = counts(plan(Timesteps::stratified, 500, 900));
    for (std::size_t tenth = 0; tenth < 10; ++tenth) {
        std::int64_t sum = 0;
        for (std::size_t t = 0; t < 40; ++t) sum += found[500 + 40 * tenth + t];
        EXPECT_EQ(sum, draws / 10);
    }
    expect_distribution(found, even(500, 900));
}

TEST(TimestepPlan, StratifiedTakesRangesThatDoNotDivideByTen) {
    for (const std::int64_t width : {1, 3, 10, 11, 19, 407}) {
        const TimestepPlan timesteps = plan(Timesteps::stratified, 100, 100 + width);
        std::set<std::int64_t> seen;
        for (std::uint64_t i = 0; i < 20000; ++i) {
            const std::int64_t t = timesteps.draw(seed, i);
            ASSERT_GE(t, 100);
            ASSERT_LT(t, 100 + width);
            seen.insert(t);
        }
        // A number is missed with probability (1 - 1/410)^20000 < 1e-21.
        EXPECT_EQ(static_cast<std::int64_t>(seen.size()), width);
    }
    // Fewer than ten numbers: each once in as many draws.
    const TimestepPlan three = plan(Timesteps::stratified, 100, 103);
    for (std::uint64_t i = 0; i < 30; i += 3) {
        const std::set<std::int64_t> round = {three.draw(seed, i), three.draw(seed, i + 1),
                                              three.draw(seed, i + 2)};
        EXPECT_EQ(round.size(), 3u);
    }
}

TEST(TimestepPlan, ADrawIsAValueOfSeedAndIndex) {
    for (const auto& [kind, name] : timestep_names()) {
        const TimestepPlan first = plan(kind, 500, 900), second = plan(kind, 500, 900);
        std::vector<std::int64_t> one, two, other;
        for (std::uint64_t i = 0; i < 50; ++i) one.push_back(first.draw(seed, i));
        for (std::uint64_t i = 50; i-- > 0;) two.insert(two.begin(), second.draw(seed, i));
        for (std::uint64_t i = 0; i < 50; ++i) other.push_back(first.draw(seed + 1, i));
        EXPECT_EQ(one, two) << name;
        EXPECT_NE(one, other) << name;
    }
}

TEST(TimestepPlan, RefusesOtherRanges) {
    for (const auto& [kind, name] : timestep_names()) {
        EXPECT_THROW(plan(kind, -1, 900), Error) << name;
        EXPECT_THROW(plan(kind, 500, 500), Error) << name;
        EXPECT_THROW(plan(kind, 500, 1001), Error) << name;
    }
}

}  // namespace
}  // namespace zoodip
