#include <cmath>
#include <cstddef>
#include <vector>

#include <gtest/gtest.h>

#include "core/error.h"
#include "core/random.h"

namespace zoodip {
namespace {

using Block = std::array<std::uint32_t, 4>;

// The known answers of the authors' library, Random123 (kat_vectors, philox4x32 10).
TEST(Philox, KnownAnswers) {
    EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}),
              (Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
    constexpr std::uint32_t ones = 0xffffffff;
    EXPECT_EQ(philox4x32({ones, ones, ones, ones}, {ones, ones}),
              (Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
    EXPECT_EQ(
        philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
        (Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

constexpr std::size_t count = 1 << 18;

std::vector<float> normals(std::uint64_t seed, Stream stream, std::uint64_t step) {
    std::vector<float> out(count);
    RandomBlock(seed, stream, step).fill_normal(out);
    return out;
}

double mean_product(const std::vector<float>& a, const std::vector<float>& b) {
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * b[i];
    return sum / static_cast<double>(a.size());
}

// Averages of n independent terms of variance v deviate by sqrt(v / n). Bounds are six of those.
double six_sigma(double variance) {
    return 6 * std::sqrt(variance / count);
}

TEST(Normals, HaveTheMomentsOfTheNormalDistribution) {
    const std::vector<float> x = normals(1, Stream::noise, 5);
    const std::vector<float> ones(count, 1);
    std::vector<float> square(count);
    for (std::size_t i = 0; i < count; ++i) square[i] = x[i] * x[i];
    EXPECT_LT(std::abs(mean_product(x, ones)), six_sigma(1));              // Var x = 1
    EXPECT_LT(std::abs(mean_product(x, x) - 1), six_sigma(2));             // Var x^2 = 3 - 1
    EXPECT_LT(std::abs(mean_product(square, x)), six_sigma(15));           // Var x^3 = 15
    EXPECT_LT(std::abs(mean_product(square, square) - 3), six_sigma(96));  // Var x^4 = 105 - 9
}

TEST(Normals, FollowTheNormalDistributionFunction) {
    const std::vector<float> x = normals(2, Stream::direction, 0);
    for (const double at : {-2.0, -1.0, -0.3, 0.0, 0.7, 1.5, 3.0}) {
        const double expected = 0.5 * std::erfc(-at / std::sqrt(2.0));
        double below = 0;
        for (const float value : x) below += value < at;
        EXPECT_LT(std::abs(below / count - expected), six_sigma(expected * (1 - expected))) << at;
    }
}

// The product of two independent standard normals has mean 0 and variance 1.
TEST(Normals, AreUncorrelatedAcrossSeedsStreamsAndSteps) {
    const std::vector<std::vector<float>> draws = {normals(1, Stream::noise, 5),
                                                   normals(1, Stream::noise, 6),
                                                   normals(1, Stream::direction, 5),
                                                   normals(2, Stream::noise, 5),
                                                   normals(1, Stream::noise, 5 + (1ull << 32)),
                                                   normals(1 + (1ull << 32), Stream::noise, 5)};
    for (std::size_t i = 0; i < draws.size(); ++i) {
        for (std::size_t j = 0; j < i; ++j) {
            EXPECT_LT(std::abs(mean_product(draws[i], draws[j])), six_sigma(1)) << i << " " << j;
        }
    }
}

TEST(Normals, AreUncorrelatedWithinADraw) {
    const std::vector<float> x = normals(3, Stream::noise, 0);
    for (const std::size_t lag : {1, 2, 3, 4, 64}) {
        const std::vector<float> head(x.begin(), x.end() - static_cast<std::ptrdiff_t>(lag));
        const std::vector<float> tail(x.begin() + static_cast<std::ptrdiff_t>(lag), x.end());
        EXPECT_LT(std::abs(mean_product(head, tail)), six_sigma(1) * 1.001) << lag;
    }
}

TEST(Normals, AreAddressedByIndex) {
    const RandomBlock block(7, Stream::noise, 3);
    std::vector<float> whole(101);
    block.fill_normal(whole);
    for (std::size_t offset = 0; offset < whole.size(); offset += 2) {
        for (std::size_t size = 0; size <= whole.size() - offset; ++size) {
            std::vector<float> part(size);
            block.fill_normal(part, offset);
            const std::vector<float> expected(
                whole.begin() + static_cast<std::ptrdiff_t>(offset),
                whole.begin() + static_cast<std::ptrdiff_t>(offset + size));
            ASSERT_EQ(part, expected) << offset << " " << size;
        }
    }
}

TEST(Normals, RefuseWhatCannotBeAddressed) {
    std::vector<float> out(4);
    EXPECT_THROW(RandomBlock(1, Stream::noise, 0).fill_normal(out, 3), Error);
    EXPECT_THROW(RandomBlock(1, Stream::noise, 0).fill_normal(out, 1ull << 34), Error);
    EXPECT_THROW(RandomBlock(1, Stream::noise, 1ull << 56).fill_normal(out), Error);
}

TEST(Uniform, CoversTheUnitIntervalEvenly) {
    const RandomBlock block(11, Stream::timestep, 2);
    double sum = 0, squares = 0;
    for (std::size_t i = 0; i < count; ++i) {
        const double value = block.uniform(i);
        ASSERT_GE(value, 0.0);
        ASSERT_LT(value, 1.0);
        sum += value;
        squares += value * value;
    }
    EXPECT_LT(std::abs(sum / count - 0.5), six_sigma(1.0 / 12));
    EXPECT_LT(std::abs(squares / count - 1.0 / 3), six_sigma(1.0 / 5 - 1.0 / 9));
}

TEST(Integer, TakesEveryValueEquallyOften) {
    const RandomBlock block(13, Stream::picture, 0);
    std::vector<double> hits(7);
    for (std::size_t i = 0; i < count; ++i) {
        const std::int64_t value = block.integer(-3, 4, i);
        ASSERT_GE(value, -3);
        ASSERT_LT(value, 4);
        ++hits[static_cast<std::size_t>(value + 3)];
    }
    for (const double hit : hits) {
        EXPECT_LT(std::abs(hit / count - 1.0 / 7), six_sigma(6.0 / 49));
    }
    EXPECT_EQ(block.integer(5, 6), 5);
    EXPECT_THROW(block.integer(5, 5), Error);
    EXPECT_THROW(block.integer(0, 1ll << 32), Error);
}

}  // namespace
}  // namespace zoodip
