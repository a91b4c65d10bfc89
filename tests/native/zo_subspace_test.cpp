#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "core/log.h"
#include "zo/directions.h"
#include "zo/estimator.h"
#include "zo/subspace.h"

namespace zoodip {
namespace {

constexpr double u = 0x1p-24;  // rounding a number to float32 is off by this much, relative

at::Tensor walk(std::int64_t rows, std::int64_t d, std::uint64_t seed) {
    return draw_directions(rows, d, seed, 0).cumsum(0) + 10 * draw_directions(1, d, seed, 1);
}

void record_all(Subspace& subspace, const at::Tensor& words) {
    for (std::int64_t i = 0; i < words.size(0); ++i) subspace.record(words[i]);
}

at::Tensor projector(const at::Tensor& p) {
    const at::Tensor wide = p.to(at::kDouble);
    return at::matmul(wide.t(), wide);
}

double largest(const at::Tensor& x) {
    return x.numel() == 0 ? 0 : x.abs().max().item<double>();
}

// Eight words in which the features follow Walsh functions: these are orthogonal, have mean 0 and
// deviation 1, so that standardising gives them back whatever the offset and the size. A function
// that m features follow is one singular triple, S^2 = 8 m, along those features alone.
struct Walsh {
    std::vector<std::int64_t> multiplicity = {100, 5, 3, 1};
    std::int64_t constant = 4;  // features that do not move

    std::int64_t d() const {
        std::int64_t sum = constant;
        for (const std::int64_t m : multiplicity) sum += m;
        return sum;
    }

    at::Tensor words() const {
        at::Tensor out = at::empty({8, d()}, at::kFloat);
        std::int64_t feature = 0;
        for (std::size_t k = 0; k < multiplicity.size(); ++k) {
            for (std::int64_t i = 0; i < multiplicity[k]; ++i, ++feature) {
                const double size = std::ldexp(1, static_cast<int>(feature % 5) - 6);
                for (std::int64_t row = 0; row < 8; ++row) {
                    const auto bits = static_cast<unsigned>(row) & static_cast<unsigned>(k + 1);
                    const bool negative = std::popcount(bits) % 2 == 1;
                    out[row][feature] =
                        static_cast<double>(feature % 7) - (negative ? -size : size);
                }
            }
        }
        out.slice(1, feature).fill_(0.3f);
        return out;
    }

    // P^T P where the first `kept` functions are not removed.
    at::Tensor removed(std::size_t kept) const {
        at::Tensor out = at::zeros({d(), d()}, at::kDouble);
        std::int64_t feature = 0;
        for (std::size_t k = 0; k < multiplicity.size(); ++k) {
            const std::int64_t end = feature + multiplicity[k];
            if (k >= kept) {
                out.slice(0, feature, end).slice(1, feature, end) =
                    1.0 / static_cast<double>(multiplicity[k]);
            }
            feature = end;
        }
        return out;
    }
};

// The shares of the variance are 100, 5, 3 and 1 of 109; the three other singular values are zero
// and their arbitrary directions must not be in P. An entry of P^T P is a sum of products, each
// rounded twice, and their sizes sum to at most 1: 2 u; 2^-40 is for the float64 decomposition,
// whose error is d 2^-52 S_1 over the smallest gap, below 1e-12.
TEST(TrailingDirections, AreThoseOfAKnownSpectrum) {
    const Walsh walsh;
    const struct {
        double nu;
        std::size_t kept;
    } cases[] = {{0.2, 1}, {0.1, 1}, {0.08, 2}, {0.04, 2}, {0.03, 3}, {0.01, 3}, {0.005, 4}};
    for (const auto& [nu, kept] : cases) {
        const at::Tensor p = trailing_directions(walsh.words(), nu);
        EXPECT_EQ(p.size(0), static_cast<std::int64_t>(4 - kept)) << nu;
        EXPECT_EQ(p.size(1), walsh.d());
        EXPECT_EQ(p.scalar_type(), at::kFloat);
        EXPECT_LE(largest(projector(p) - walsh.removed(kept)), 2.01 * u + 0x1p-40) << nu;
    }
}

TEST(TrailingDirections, AreNoneWhenNothingMoves) {
    EXPECT_EQ(trailing_directions(at::full({5, 9}, 0.1f), 0.5).sizes(),
              (std::vector<std::int64_t>{0, 9}));
}

// Whole numbers on a grid of 2^-13 stay exact after 1024 is added. The mean is then rounded on the
// scale of 1024, 1e5 times the deviation, which must not look like a direction.
TEST(TrailingDirections, DoNotSeeHowFarTheWordsAreFromZero) {
    const at::Tensor grid = (draw_directions(6, 100, 3, 0) * 64).round() * 0x1p-13;
    const at::Tensor near = trailing_directions(grid, 0.5);
    const at::Tensor far = trailing_directions(grid + 1024, 0.5);
    ASSERT_EQ(far.sizes(), near.sizes());
    // Rank at most 5, and one direction alone does not hold half of six nearly equal shares.
    EXPECT_GE(near.size(0), 1);
    EXPECT_LE(near.size(0), 3);
    // Each projector is off by 2 u, and by the second mean's error, 2^-52 times a modest number.
    EXPECT_LE(largest(projector(far) - projector(near)), 4.01 * u + 0x1p-40);
}

struct Shape {
    std::int64_t tau, d;
    double nu;
};
const std::vector<Shape> shapes = {{2, 64, 0.5},    {3, 7, 0.3},      {16, 96, 1e-2}, {12, 6, 1e-2},
                                   {32, 192, 1e-3}, {128, 768, 1e-3}, {24, 24, 1e-1}, {5, 1, 0.1}};

// A float32 row is u |p| away from the float64 one; that one is orthonormal to d 2^-52 or better.
TEST(Subspace, HasOrthonormalRowsAndAtMostTheRankOfCentredWords) {
    for (const Shape& s : shapes) {
        Subspace subspace(s.tau, s.nu, s.d);
        record_all(subspace, walk(s.tau, s.d, 5));
        const at::Tensor p = subspace.state().projection.to(at::kDouble);
        const at::Tensor off = at::matmul(p, p.t()) - at::eye(p.size(0), at::kDouble);
        EXPECT_LE(largest(off), 2.01 * u + 0x1p-40) << s.tau << " " << s.d;
        EXPECT_LE(p.size(0), std::min(s.tau - 1, s.d) - 1);
        EXPECT_EQ(p.size(0), subspace.removed());
    }
}

// P P^T = I + E with |E| <= 2 u sqrt(rows) (each row is off by u), so that |g' P^T| <= |P g| |E|
// before g' is rounded, which adds u |g'|.
TEST(Subspace, LeavesNothingOfAGradientAlongP) {
    for (const Shape& s : shapes) {
        Subspace subspace(s.tau, s.nu, s.d);
        record_all(subspace, walk(s.tau, s.d, 6));
        const at::Tensor p = subspace.state().projection.to(at::kDouble);
        const at::Tensor g = draw_directions(1, s.d, 7, 0)[0];
        const at::Tensor left = subspace.project(g);
        const double length = g.to(at::kDouble).norm().item<double>();
        const double rows = static_cast<double>(p.size(0));
        EXPECT_LE(at::matmul(p, left.to(at::kDouble)).norm().item<double>(),
                  (2 * std::sqrt(rows) + 1) * u * length * 1.01);
        // What was taken out lies along P: g - g' = P^T P g, but for rounding each number once.
        const at::Tensor taken = at::matmul(projector(p), g.to(at::kDouble));
        EXPECT_LE((g.to(at::kDouble) - left.to(at::kDouble) - taken).norm().item<double>(),
                  1.01 * u * length);
        EXPECT_EQ(left.scalar_type(), at::kFloat);
    }
}

TEST(Subspace, RemovesSomethingOfAWalk) {
    Subspace subspace(128, 1e-3, 768);
    record_all(subspace, walk(128, 768, 6));
    EXPECT_GE(subspace.removed(), 1);
    const at::Tensor g = subspace.state().projection[0].clone();
    // A unit vector of P itself vanishes but for the bound above.
    EXPECT_LE(subspace.project(g).norm().item<double>(),
              (2 * std::sqrt(static_cast<double>(subspace.removed())) + 1) * u * 1.01);
}

TEST(Subspace, IsEmptyForTauStepsAndReplacedEveryTau) {
    const std::int64_t tau = 16, d = 96;
    Subspace subspace(tau, 0.05, d);
    const at::Tensor words = walk(3 * tau, d, 8), g = draw_directions(1, d, 9, 0)[0];
    for (std::int64_t step = 0; step < 3 * tau; ++step) {
        const Subspace::State state = subspace.state();
        const std::int64_t full = step / tau, held = step % tau;
        ASSERT_TRUE(at::equal(state.buffer, words.slice(0, step - held, step))) << step;
        const at::Tensor expected =
            full == 0 ? at::empty({0, d}, at::kFloat)
                      : trailing_directions(words.slice(0, (full - 1) * tau, full * tau), 0.05);
        ASSERT_TRUE(at::equal(state.projection, expected)) << step;
        if (full == 0) {
            ASSERT_TRUE(at::equal(subspace.project(g), g));
        } else {
            ASSERT_GE(subspace.removed(), 1);
        }
        subspace.record(words[step]);
    }
}

TEST(Subspace, GivesUpPWhenTheWordStops) {
    Subspace subspace(8, 0.05, 113);
    record_all(subspace, Walsh().words());
    EXPECT_EQ(subspace.removed(), 2);
    record_all(subspace, at::ones({8, 113}));
    EXPECT_EQ(subspace.removed(), 0);
}

TEST(Subspace, ContinuesFromItsState) {
    const std::int64_t tau = 16, d = 96;
    const at::Tensor words = walk(5 * tau, d, 8), g = draw_directions(1, d, 9, 0)[0];
    for (const std::int64_t stop : {0, 5, 16, 25, 47}) {
        Subspace through(tau, 0.05, d), resumed(tau, 0.05, d);
        record_all(resumed, walk(tau + 3, d, 1));  // to be forgotten
        record_all(through, words.slice(0, 0, stop));
        resumed.set_state(through.state());
        for (std::int64_t step = stop; step < words.size(0); ++step) {
            ASSERT_TRUE(at::equal(through.project(g), resumed.project(g))) << stop << " " << step;
            through.record(words[step]);
            resumed.record(words[step]);
        }
        EXPECT_TRUE(at::equal(through.state().projection, resumed.state().projection));
    }
}

TEST(Subspace, SharesNoMemoryWithAGradient) {
    const Subspace subspace(8, 0.05, 113);
    const at::Tensor g = at::ones({113});
    subspace.project(g).zero_();
    EXPECT_TRUE(at::equal(g, at::ones({113})));
}

TEST(Subspace, SharesNoMemoryWithItsState) {
    Subspace subspace(8, 0.05, 113);
    record_all(subspace, Walsh().words());
    const Subspace::State state = subspace.state();
    const at::Tensor kept = state.projection.clone();
    state.projection.zero_();
    EXPECT_TRUE(at::equal(subspace.state().projection, kept));
    subspace.set_state({at::zeros({2, 113}), kept});
    kept.zero_();
    EXPECT_GT(largest(subspace.state().projection), 0);
}

std::vector<std::string> warnings_of(std::int64_t tau, std::int64_t d) {
    std::vector<std::string> seen;
    set_log_sink([&seen](LogLevel level, const std::string& text) {
        if (level == LogLevel::warning) seen.push_back(text);
    });
    const Subspace subspace(tau, 1e-3, d);
    set_log_sink({});
    return seen;
}

TEST(Subspace, WarnsOfATauThatLeavesHardlyADirection) {
    EXPECT_TRUE(warnings_of(383, 768).empty());
    EXPECT_TRUE(warnings_of(3, 7).empty());
    for (const std::int64_t tau : {384, 768, 1000}) {
        const std::vector<std::string> seen = warnings_of(tau, 768);
        ASSERT_EQ(seen.size(), 1u);
        // The proportion to take is named: 768 / 6.
        EXPECT_NE(seen[0].find("128"), std::string::npos) << seen[0];
    }
}

TEST(Subspace, RefusesWrongShapesAndRanges) {
    const double nan = std::nan("");
    for (const double nu : {0.0, 1.0, -0.1, 2.0, nan}) EXPECT_THROW(Subspace(8, nu, 64), Error);
    EXPECT_THROW(Subspace(1, 0.1, 64), Error);
    EXPECT_THROW(Subspace(-1, 0.1, 64), Error);
    EXPECT_THROW(Subspace(8, 0.1, 0), Error);
    Subspace subspace(8, 0.1, 64);
    for (const at::Tensor& bad : {at::zeros({63}), at::zeros({1}), at::zeros({1, 64})}) {
        EXPECT_THROW(subspace.project(bad), Error);
        EXPECT_THROW(subspace.record(bad), Error);
    }
    EXPECT_THROW(subspace.project(at::zeros({64}, at::kDouble)), Error);
    EXPECT_THROW(subspace.record(at::zeros({64}, at::kDouble)), Error);
    EXPECT_EQ(subspace.state().buffer.size(0), 0);
    EXPECT_THROW(subspace.set_state({}), Error);
    EXPECT_THROW(subspace.set_state({at::zeros({2, 64}), at::zeros({8, 64})}), Error);
    EXPECT_THROW(Subspace(8, 0.1, 4).set_state({at::zeros({2, 4}), at::zeros({4, 4})}), Error);
    EXPECT_THROW(subspace.set_state({at::zeros({8, 64}), at::zeros({0, 64})}), Error);
    EXPECT_THROW(subspace.set_state({at::zeros({2, 63}), at::zeros({0, 64})}), Error);
    EXPECT_THROW(subspace.set_state({at::zeros({2, 64}), at::zeros({1, 63})}), Error);
    EXPECT_THROW(subspace.set_state({at::zeros({64}), at::zeros({0, 64})}), Error);
}

TEST(Subspace, RefusesAWordThatIsNotFinite) {
    Subspace subspace(8, 0.1, 64);
    for (const double bad : {std::nan(""), std::numeric_limits<double>::infinity()}) {
        at::Tensor word = at::zeros({64});
        word[3] = bad;
        EXPECT_THROW(subspace.record(word), Error);
    }
    EXPECT_EQ(subspace.state().buffer.size(0), 0);
}

}  // namespace
}  // namespace zoodip
