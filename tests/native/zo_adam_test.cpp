#include "zo/zo_adam.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "zo/directions.h"
#include "zo/estimator.h"

namespace zoodip {
namespace {

constexpr std::int64_t d = 24;
constexpr double u = 0x1p-24;  // a float32 operation is off by this much, relative

// One number of a word under the recurrence in float64, with a bound on how far float32 may be off:
// every operation adds u times its result to what its arguments were off by (running error
// analysis); a constant that is rounded to float32 counts as an operation.
struct Reference {
    double theta, m = 0, v = 0;
    double theta_off = 0, m_off = 0, v_off = 0;

    void step(double g, double scale, int count, const ZoAdamOptions& options) {
        const double s = g / scale, s_off = 2 * u * std::abs(s);
        m_off = options.beta1 * (m_off + 2 * u * std::abs(m)) +
                (1 - options.beta1) * (s_off + 2 * u * std::abs(s));
        m = options.beta1 * m + (1 - options.beta1) * s;
        m_off += u * std::abs(m);
        v_off = options.beta2 * (v_off + 2 * u * v) +
                (1 - options.beta2) * std::abs(s) * (2 * s_off + 3 * u * std::abs(s));
        v = options.beta2 * v + (1 - options.beta2) * s * s;
        v_off += u * v;

        const double m_correction = 1 - std::pow(options.beta1, count);
        const double v_correction = 1 - std::pow(options.beta2, count);
        const double m_hat = m / m_correction, v_hat = v / v_correction, root = std::sqrt(v_hat);
        const double m_hat_off = m_off / m_correction + 2 * u * std::abs(m_hat);
        const double v_hat_off = v_off / v_correction + 2 * u * v_hat;
        // |sqrt(a) - sqrt(b)| <= |a - b| / sqrt(b)
        const double root_off = root > 0 ? v_hat_off / root + u * root : 0;
        const double below = root + options.eps, above = options.learning_rate * m_hat;
        const double below_off = root_off + u * options.eps + u * below;
        const double above_off = options.learning_rate * m_hat_off + 2 * u * std::abs(above);
        const double update = above / below;
        theta -= update;
        theta_off += above_off / below + std::abs(update) * below_off / below +
                     u * std::abs(update) + u * std::abs(theta);
    }
    // Products of two errors are left out above; they are below 2^-10 of the whole.
    double bound() const { return theta_off * (1 + 0x1p-10); }
};

struct Case {
    ZoAdamOptions options;
    std::int64_t removed, n;
    bool estimated;
};

void expect_recurrence(const Case& c) {
    at::Tensor theta = draw_directions(1, d, 1, 0)[0];
    std::vector<Reference> expected;
    for (std::int64_t j = 0; j < d; ++j) expected.push_back({theta[j].item<double>()});
    const double scale =
        c.estimated ? std::sqrt(static_cast<double>(d - c.removed + c.n - 1) / c.n) : 1.0;
    ZoAdam adam(d, c.options);
    const at::Tensor start = theta.clone();
    for (int count = 1; count <= 200; ++count) {
        // Sizes from 1e-2 to 1e2: the small ones meet eps.
        at::Tensor g = draw_directions(1, d, 2, static_cast<std::uint64_t>(count))[0] + 0.2;
        g = g * at::logspace(-2, 2, d);
        theta = adam.step(theta, g, c.removed, c.n, c.estimated);
        for (std::int64_t j = 0; j < d; ++j) {
            expected[static_cast<std::size_t>(j)].step(g[j].item<double>(), scale, count,
                                                       c.options);
        }
    }
    for (std::int64_t j = 0; j < d; ++j) {
        const Reference& one = expected[static_cast<std::size_t>(j)];
        EXPECT_NEAR(theta[j].item<double>(), one.theta, one.bound()) << j;
        // The bound would see any wrong factor: it is far below the way that was gone.
        EXPECT_LT(one.bound(), 1e-3 * std::abs(one.theta - start[j].item<double>()) + 1e-4) << j;
    }
}

TEST(ZoAdam, FollowsTheRecurrence) {
    expect_recurrence({{}, 0, 1, true});
    expect_recurrence({{}, 5, 2, true});
    expect_recurrence({{1e-2, 0.8, 0.99, 1e-2}, 23, 8, true});
    expect_recurrence({{5e-3, 0, 0, 1e-3}, 0, 1, true});
}

TEST(ZoAdam, DoesNotScaleAnExactGradient) {
    expect_recurrence({{}, 5, 2, false});
}

// First step: mhat = s, vhat = s^2, so that theta moves by eta s / (|s| + eps).
TEST(ZoAdam, CorrectsTheBiasOfTheFirstStep) {
    ZoAdam adam(1, {});
    // The scale sqrt((1 + 4 - 1) / 4) is 1.
    const double moved = adam.step(at::zeros({1}), at::ones({1}), 0, 4).item<double>();
    // Fewer than 24 operations on the way, each off by u.
    EXPECT_NEAR(moved, -5e-3 / (1 + 1e-3), 24 * u * 5e-3);
}

TEST(ZoAdam, StaysWhereTheGradientIsZero) {
    ZoAdam adam(d, {});
    const at::Tensor theta = draw_directions(1, d, 1, 0)[0];
    EXPECT_TRUE(at::equal(adam.step(theta, at::zeros({d}), 0, 2), theta));
}

TEST(ZoAdam, LeavesItsArgumentsAndItsStateAlone) {
    ZoAdam adam(d, {});
    const at::Tensor theta = draw_directions(1, d, 1, 0)[0], g = draw_directions(1, d, 2, 0)[0];
    const at::Tensor theta_kept = theta.clone(), g_kept = g.clone();
    adam.step(theta, g, 0, 2);
    const ZoAdam::State state = adam.state();
    const at::Tensor m = state.m.clone(), v = state.v.clone();
    adam.step(theta, g, 0, 2);
    EXPECT_TRUE(at::equal(theta, theta_kept) && at::equal(g, g_kept));
    EXPECT_TRUE(at::equal(state.m, m) && at::equal(state.v, v));
    EXPECT_EQ(state.step, 1);
}

TEST(ZoAdam, ContinuesFromItsState) {
    ZoAdam through(d, {});
    at::Tensor theta = draw_directions(1, d, 1, 0)[0];
    const auto gradient = [](int step) {
        return draw_directions(1, d, 2, static_cast<std::uint64_t>(step))[0];
    };
    for (int step = 0; step < 7; ++step) theta = through.step(theta, gradient(step), 3, 2);
    ZoAdam resumed(d, {});
    resumed.set_state(through.state());
    at::Tensor other = theta.clone();
    for (int step = 7; step < 20; ++step) {
        theta = through.step(theta, gradient(step), 3, 2);
        other = resumed.step(other, gradient(step), 3, 2);
        ASSERT_TRUE(at::equal(theta, other)) << step;
    }
    EXPECT_EQ(resumed.state().step, 20);
}

TEST(ZoAdam, RefusesWrongShapesAndRanges) {
    const double nan = std::nan(""), infinity = std::numeric_limits<double>::infinity();
    for (const ZoAdamOptions& bad : std::vector<ZoAdamOptions>{{0, 0.9, 0.999, 1e-3},
                                                               {-1, 0.9, 0.999, 1e-3},
                                                               {nan, 0.9, 0.999, 1e-3},
                                                               {infinity, 0.9, 0.999, 1e-3},
                                                               {5e-3, 1, 0.999, 1e-3},
                                                               {5e-3, -0.1, 0.999, 1e-3},
                                                               {5e-3, 0.9, 1, 1e-3},
                                                               {5e-3, 0.9, nan, 1e-3},
                                                               {5e-3, 0.9, 0.999, 0},
                                                               {5e-3, 0.9, 0.999, infinity}}) {
        EXPECT_THROW(ZoAdam(d, bad), Error);
    }
    EXPECT_THROW(ZoAdam(0, {}), Error);
    ZoAdam adam(d, {});
    const at::Tensor word = at::zeros({d});
    EXPECT_THROW(adam.step(at::zeros({d + 1}), word, 0, 1), Error);
    EXPECT_THROW(adam.step(word, at::zeros({1}), 0, 1), Error);
    EXPECT_THROW(adam.step(word, word.to(at::kDouble), 0, 1), Error);
    EXPECT_THROW(adam.step(word, word, 0, 0), Error);
    EXPECT_THROW(adam.step(word, word, -1, 1), Error);
    EXPECT_THROW(adam.step(word, word, d, 1), Error);
    EXPECT_THROW(adam.set_state({at::zeros({d - 1}), word, 0}), Error);
    EXPECT_THROW(adam.set_state({word, at::zeros({d - 1}), 0}), Error);
    EXPECT_THROW(adam.set_state({word, word, -1}), Error);
    EXPECT_EQ(adam.state().step, 0);
}

}  // namespace
}  // namespace zoodip
