#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <gtest/gtest.h>

#include "core/error.h"
#include "core/random.h"

namespace zoodip {
namespace {

using Counter = std::array<std::uint32_t, 4>;
using Key = std::array<std::uint32_t, 2>;

constexpr std::size_t count = 1 << 18;

// A mean of `numbers` independent values lies within this of its expectation but for 2e-9.
double six_sigma(double variance, double numbers) {
    return 6 * std::sqrt(variance / numbers);
}

std::vector<float> normals(const RandomBlock& block, std::size_t size = count,
                           std::uint64_t offset = 0) {
    std::vector<float> out(size);
    block.fill_normal(out, offset);
    return out;
}

double correlation(const std::vector<float>& a, const std::vector<float>& b, std::size_t lag = 0) {
    double sum = 0;
    for (std::size_t i = lag; i < a.size(); ++i) sum += static_cast<double>(a[i]) * b[i - lag];
    return sum / static_cast<double>(a.size() - lag);
}

// Known answers published with Random123, the authors' own implementation.
TEST(Philox, GivesTheKnownAnswers) {
    EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}),
              (Counter{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
    const std::uint32_t ones = 0xffffffff;
    EXPECT_EQ(philox4x32({ones, ones, ones, ones}, {ones, ones}),
              (Counter{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
    EXPECT_EQ(
        philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, Key{0xa4093822, 0x299f31d0}),
        (Counter{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(RandomBlock, PutsIndexStepAndStreamIntoTheCounterAndTheSeedIntoTheKey) {
    const std::uint64_t seed = 0x0123456789abcdef, step = 0x00fedcba98765432;
    const RandomBlock block(seed, Stream::noise, step);
    const Counter bits = philox4x32({5, 0x98765432, 0x04fedcba, 0}, Key{0x89abcdef, 0x01234567});
    for (std::uint64_t i = 0; i < 4; ++i) {
        EXPECT_EQ(block.uniform(4 * 5 + i), static_cast<double>(bits[i]) / 4294967296.0);
    }
}

// Moments of U[0, 1): variance 1/12; the square of the distance from 1/2 has variance 1/180.
TEST(RandomBlock, UniformNumbersHaveTheMomentsOfTheUniformDistribution) {
    const RandomBlock block(1, Stream::timestep, 2);
    double mean = 0, square = 0;
    for (std::size_t i = 0; i < count; ++i) {
        const double value = block.uniform(i);
        ASSERT_GE(value, 0);
        ASSERT_LT(value, 1);
        mean += value / count;
        square += (value - 0.5) * (value - 0.5) / count;
    }
    EXPECT_NEAR(mean, 0.5, six_sigma(1.0 / 12, count));
    EXPECT_NEAR(square, 1.0 / 12, six_sigma(1.0 / 180, count));
}

// A count of one value out of 400 is binomial.
TEST(RandomBlock, IntegersAreEquallyFrequentAndStayInTheirRange) {
    const RandomBlock block(7, Stream::timestep, 0);
    std::vector<int> found(400);
    for (std::size_t i = 0; i < count; ++i) {
        const std::int64_t value = block.integer(-100, 300, i);
        ASSERT_GE(value, -100);
        ASSERT_LT(value, 300);
        ++found[static_cast<std::size_t>(value + 100)];
    }
    const double p = 1.0 / 400;
    for (const int times : found) EXPECT_NEAR(times, count * p, 6 * std::sqrt(count * p * (1 - p)));
}

// Moments of N(0, 1): x, x^2, x^3 and x^4 have variances 1, 2, 15 and 96.
TEST(RandomBlock, NormalNumbersHaveTheMomentsOfTheNormalDistribution) {
    double moment[4] = {};
    for (const double x : normals({3, Stream::noise, 4})) {
        for (int k = 0; k < 4; ++k) moment[k] += std::pow(x, k + 1) / count;
    }
    EXPECT_NEAR(moment[0], 0, six_sigma(1, count));
    EXPECT_NEAR(moment[1], 1, six_sigma(2, count));
    EXPECT_NEAR(moment[2], 0, six_sigma(15, count));
    EXPECT_NEAR(moment[3], 3, six_sigma(96, count));
}

// How often a number lies below a limit is binomial; Phi(x) = erfc(-x / sqrt 2) / 2.
TEST(RandomBlock, NormalNumbersFollowTheDistributionFunction) {
    const std::vector<float> numbers = normals({2, Stream::direction, 0});
    for (const double limit : {-3.0, -1.5, -0.7, 0.0, 0.3, 1.0, 2.0}) {
        const double p = 0.5 * std::erfc(-limit / std::sqrt(2.0));
        double below = 0;
        for (const float number : numbers) below += number < limit;
        EXPECT_NEAR(below / count, p, six_sigma(p * (1 - p), count)) << limit;
    }
}

// The product of two independent N(0, 1) has mean 0 and variance 1.
TEST(RandomBlock, SeedsStreamsStepsAndElementsAreIndependent) {
    const std::uint64_t high = 1ull << 32;
    const std::vector<float> numbers = normals({3, Stream::noise, 4});
    const std::vector<RandomBlock> others = {
        {3, Stream::noise, 5},        {3, Stream::noise, 4 + high}, {4, Stream::noise, 4},
        {3 + high, Stream::noise, 4}, {3, Stream::latent, 4},       {4, Stream::noise, 3},
    };
    for (const RandomBlock& other : others) {
        EXPECT_NEAR(correlation(numbers, normals(other)), 0, six_sigma(1, count));
    }
    for (const std::size_t lag : {1, 2, 3, 4, 5, 8, 64}) {
        EXPECT_NEAR(correlation(numbers, numbers, lag), 0, six_sigma(1, count - lag)) << lag;
    }
}

TEST(RandomBlock, ElementsHaveAddresses) {
    const RandomBlock block(3, Stream::noise, 4);
    const std::vector<float> whole = normals(block, 101);
    for (std::size_t offset = 0; offset < whole.size(); offset += 2) {
        for (std::size_t size = 0; size <= whole.size() - offset; ++size) {
            const auto begin = whole.begin() + static_cast<std::ptrdiff_t>(offset);
            const std::vector<float> expected(begin, begin + static_cast<std::ptrdiff_t>(size));
            ASSERT_EQ(normals(block, size, offset), expected) << offset << " " << size;
        }
    }
}

TEST(RandomBlock, RefusesWhatItCannotAddress) {
    const RandomBlock block(0, Stream::noise, 0);
    EXPECT_NO_THROW(block.uniform((1ull << 34) - 1));
    EXPECT_THROW(block.uniform(1ull << 34), Error);
    EXPECT_NO_THROW(RandomBlock(0, Stream::noise, (1ull << 56) - 1).uniform(0));
    EXPECT_THROW(RandomBlock(0, Stream::noise, 1ull << 56).uniform(0), Error);
    EXPECT_THROW(normals(block, 2, 1), Error);
    EXPECT_THROW(normals(block, 4, (1ull << 34) - 2), Error);
    EXPECT_THROW(block.integer(5, 5), Error);
    EXPECT_THROW(block.integer(6, 5), Error);
    EXPECT_THROW(block.integer(0, 1ll << 32), Error);
    EXPECT_EQ(block.integer(5, 6), 5);
}

}  // namespace
}  // namespace zoodip
