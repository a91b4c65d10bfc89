#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "core/random.h"
#include "zo/directions.h"
#include "zo/estimators.h"

namespace zoodip {
namespace {

constexpr std::int64_t d = 7;
constexpr std::int64_t repeats = 20000;
constexpr double float_unit = 0x1p-24;  // half a unit in the last place, relative

at::Tensor vector(const std::vector<double>& values) {
    return at::tensor(values, at::kDouble);
}

at::Tensor normal_directions(std::int64_t n, std::int64_t step) {
    return draw_directions(n, d, 11, static_cast<std::uint64_t>(step));
}

// Uniform on the sphere |e|^2 = d.
at::Tensor sphere_directions(std::int64_t n, std::int64_t step) {
    const at::Tensor e = normal_directions(n, step).to(at::kDouble);
    const at::Tensor length = (e * e).sum(1, /*keepdim=*/true).sqrt();
    return (e * (std::sqrt(static_cast<double>(d)) / length)).to(at::kFloat);
}

// Estimates of `repeats` steps, float64 [repeats, d]. losses: float64 [k, d] -> [k].
template <class Losses>
at::Tensor estimates(const Estimator& estimator, const at::Tensor& theta, std::int64_t n,
                     Losses losses,
                     at::Tensor (*draw)(std::int64_t, std::int64_t) = normal_directions) {
    std::vector<at::Tensor> rows;
    for (std::int64_t step = 0; step < repeats; ++step) {
        const at::Tensor directions = draw(estimator.directions(n), step);
        const at::Tensor points = estimator.points(theta, directions).to(at::kDouble);
        rows.push_back(estimator.estimate(losses(points), directions));
    }
    return at::stack(rows).to(at::kDouble);
}

// Each mean lies within six deviations of the mean, and `bias`, of what is expected.
void expect_mean(const at::Tensor& values, const at::Tensor& expected, const at::Tensor& variance,
                 double bias) {
    const at::Tensor off = (values.mean(0) - expected).abs();
    const at::Tensor bound = 6 * (variance / repeats).sqrt() + bias;
    EXPECT_TRUE((off <= bound).all().item<bool>()) << "off by " << off << "\nbound " << bound;
}

// What float32 points add to a loss with gradient a: point j is off by at most u |p_j| twice (the
// product mu e and the sum), and E|e_j| < 1.
double rounding(double slope_sum, double largest_point, double mu) {
    return 2 * float_unit * slope_sum * largest_point / mu;
}

const at::Tensor theta = at::tensor({0.5f, -0.25f, 0.125f, 1.0f, -1.0f, 0.75f, 0.0f});
const at::Tensor slope = vector({1, -2, 0.5, 0, 3, -0.25, 1.5});

at::Tensor linear(const at::Tensor& points) {
    return at::matmul(points, slope) + 4;
}

// L = b.x + x'Ax/2, its gradient q at theta, and what its estimates' variances are made of.
struct Quadratic {
    at::Tensor a = [] {
        const at::Tensor root = draw_directions(d, d, 5, 0).to(at::kDouble);
        return at::matmul(root, root.t());
    }();
    at::Tensor gradient = slope + at::matmul(a, theta.to(at::kDouble));
    at::Tensor square = at::matmul(a, a), trace = a.trace(), diagonal = a.diagonal();

    at::Tensor operator()(const at::Tensor& points) const {
        return at::matmul(points, slope) + (at::matmul(points, a) * points).sum(1) / 2;
    }
    // E (e'Ae)^2 e_j^2 (Isserlis).
    at::Tensor curvature() const {
        return trace * trace + 2 * square.trace() + 4 * trace * diagonal + 8 * square.diagonal();
    }
    // The slope at a point is below |q|_1 + mu |A e|_1, and |e| stays below 10.
    double slope_sum(double mu) const {
        return (gradient.abs().sum() + mu * 10 * a.abs().sum()).item<double>();
    }
};

// For L = a.x: g = 1/n sum (a.e) e, E g = a, Var g_j = (|a|^2 + a_j^2) / n (Isserlis).
TEST(RandomGradientEstimator, HasTheGradientOfALinearFunctionAsItsMean) {
    for (const std::int64_t n : {1, 2, 5}) {
        const at::Tensor g = estimates(*make_estimator("rge", 1e-3), theta, n, linear);
        const at::Tensor variance = (slope.dot(slope) + slope * slope) / n;
        expect_mean(g, slope, variance, rounding(8.25, 1.1, 1e-3));
    }
}

// For a quadratic: g = 1/n sum (q.e + mu/2 e'Ae) e. The mu term is odd in e: no bias, no
// correlation with the first.
TEST(RandomGradientEstimator, HasTheGradientOfAQuadraticAsItsMean) {
    const double mu = 0.5;
    const std::int64_t n = 2;
    const Quadratic loss;
    const at::Tensor g = estimates(*make_estimator("rge", mu), theta, n, loss);
    const at::Tensor q = loss.gradient;
    const at::Tensor variance = (q.dot(q) + q * q + mu * mu / 4 * loss.curvature()) / n;
    expect_mean(g, q, variance, rounding(loss.slope_sum(mu), 1 + mu * 10, mu));
}

// |g|^2 / |a|^2 = (Q / n)^2 + Q W / n^2 with independent Q ~ chi2(n), the slopes along a, and
// W ~ chi2(d - 1), the noise across it. E Q^k = n (n + 2) ... (n + 2k - 2).
TEST(RandomGradientEstimator, HasAnExpectedSquareOfDPlusNPlusOneOverN) {
    for (const std::int64_t n : {1, 2, 4, 8}) {
        const at::Tensor g =
            estimates(*make_estimator("rge", 1e-3), at::zeros({d}), n,
                      [](const at::Tensor& points) { return at::matmul(points, slope); });
        const double k = static_cast<double>(n), w = static_cast<double>(d - 1);
        const double mean = (w + k + 2) / k;
        const double fourth =
            (k + 2) / (k * k * k) * ((k + 4) * (k + 6) + 2 * (k + 4) * w + w * (w + 2));
        const double length = slope.dot(slope).item<double>();
        // At theta = 0 a point is mu e but for 2 u (mu and the product): a slope is off by at most
        // 2 u |a||e|, |g|^2 by 2 |a||e|^2 2 u |a||e|^2 on average, and g itself is rounded once.
        const double bias = float_unit * (4 * d * (d + 2) + 2 * mean);
        expect_mean((g * g).sum(1, /*keepdim=*/true) / length, vector({mean}),
                    vector({fourth - mean * mean}), bias);
    }
}

// The value that ZOAdam divides by. With |a| = 1, s_i = a.e_i and |e_i|^2 = d,
//   n^2 |g|^2 = d sum_i s_i^2 + 2 sum_{i<j} s_i s_j e_i.e_j, of mean d n + n (n - 1).
// On the sphere E s^4 = 3 c with c = d / (d + 2), and E s^2 e e' = c (I + 2 a a'). So the first sum
// has the variance n d^2 (3 c - 1); a term of the second has E (s_i s_j e_i.e_j)^2 = c^2 (d + 8),
// and two that share an index the covariance E s^4 - 1. Deviations of two sums add up at most.
TEST(RandomGradientEstimator, HasAnExpectedSquareOfDPlusNMinusOneOverNOnTheSphere) {
    const double width = static_cast<double>(d), c = width / (width + 2);
    for (const std::int64_t n : {1, 2, 4, 8}) {
        const at::Tensor g = estimates(
            *make_estimator("rge", 1e-3), at::zeros({d}), n,
            [](const at::Tensor& points) { return at::matmul(points, slope); }, sphere_directions);
        const double k = static_cast<double>(n), mean = (width + k - 1) / k;
        const double first = k * width * width * (3 * c - 1);
        const double second =
            k * (k - 1) / 2 * (c * c * (width + 8) - 1) + k * (k - 1) * (k - 2) * (3 * c - 1);
        const double deviation = (std::sqrt(first) + 2 * std::sqrt(second)) / (k * k);
        // Slopes are off by 2 u |a||e| as above, and a direction is rounded once, which |g|^2 sees
        // four times: 8 u |a|^2 |e|^4 in all. g itself is rounded once.
        const double bias = float_unit * (8 * width * width + 2 * mean);
        const at::Tensor squares = (g * g).sum(1, /*keepdim=*/true) / slope.dot(slope);
        expect_mean(squares, vector({mean}), vector({deviation * deviation}), bias);
    }
}

TEST(RandomGradientEstimator, PutsThetaFirstAndFormsPointsAfresh) {
    const auto estimator = make_estimator("rge", 0.25);
    const at::Tensor directions = draw_directions(3, d, 1, 2), kept = theta.clone();
    const at::Tensor points = estimator->points(theta, directions);
    EXPECT_EQ(estimator->passes(3), 4);
    EXPECT_EQ(points.sizes(), (std::vector<std::int64_t>{4, d}));
    EXPECT_EQ(points.scalar_type(), at::kFloat);
    EXPECT_TRUE(at::equal(points[0], theta));
    // mu is a power of two: one rounding, that of the sum.
    EXPECT_TRUE(at::equal(points.slice(0, 1), theta + 0.25 * directions));
    EXPECT_TRUE(at::equal(theta, kept));
}

TEST(RandomGradientEstimator, IsTheFormulaForGivenLosses) {
    const at::Tensor directions = at::tensor({1.0f, 2.0f, 0.0f, -4.0f}).view({2, 2});
    const at::Tensor losses = vector({1, 1.5, 0.75});
    // slopes 0.5 / 0.5 and -0.25 / 0.5; g = ((1, 2) - 0.5 (0, -4)) / 2, all exact in binary.
    const at::Tensor g = make_estimator("rge", 0.5)->estimate(losses, directions);
    EXPECT_TRUE(at::equal(g, at::tensor({0.5f, 2.0f})));
    EXPECT_TRUE(
        at::equal(make_estimator("rge", 0.5)->estimate(losses.to(at::kFloat), directions), g));
}

TEST(RandomGradientEstimator, RefusesWrongShapesAndRanges) {
    const double infinity = std::numeric_limits<double>::infinity();
    for (const double mu : {0.0, -1e-3, infinity, std::nan("")}) {
        EXPECT_THROW(make_estimator("rge", mu), Error) << mu;
    }
    const auto estimator = make_estimator("rge", 1e-3);
    EXPECT_THROW(estimator->points(theta, at::zeros({2, d + 1})), Error);
    EXPECT_THROW(estimator->points(theta, at::zeros({0, d})), Error);
    EXPECT_THROW(estimator->points(theta, at::zeros({d})), Error);
    EXPECT_THROW(estimator->points(theta.unsqueeze(0), at::zeros({2, d})), Error);
    EXPECT_THROW(estimator->estimate(at::zeros({2}), at::zeros({2, d})), Error);
    EXPECT_THROW(estimator->estimate(at::zeros({3, 1}), at::zeros({2, d})), Error);
    EXPECT_THROW(estimator->estimate(at::zeros({d + 1}), at::zeros({d})), Error);
    EXPECT_THROW(estimator->points(theta.to(at::kDouble), at::zeros({2, d})), Error);
    EXPECT_THROW(estimator->points(theta, at::zeros({2, d}, at::kDouble)), Error);
    EXPECT_THROW(estimator->estimate(at::zeros({3}, at::kHalf), at::zeros({2, d})), Error);
    EXPECT_THROW(estimator->estimate(at::zeros({3}), at::zeros({2, d}, at::kDouble)), Error);
    EXPECT_THROW(estimator->passes(0), Error);
    EXPECT_THROW(draw_directions(0, d, 0, 0), Error);
    EXPECT_THROW(draw_directions(1, 0, 0, 0), Error);
}

TEST(RandomGradientEstimator, NamesALossThatIsNotFinite) {
    const auto estimator = make_estimator("rge", 1e-3);
    for (const double bad : {std::nan(""), std::numeric_limits<double>::infinity()}) {
        for (const std::int64_t place : {0, 1, 2}) {
            at::Tensor losses = vector({1, 3, 2});
            losses[place] = bad;
            try {
                estimator->estimate(losses, at::zeros({2, d}));
                FAIL() << "accepted " << bad;
            } catch (const Error& error) {
                const std::string message = error.what();
                const std::string name = "loss " + std::to_string(place) + " of 3";
                EXPECT_NE(message.find(name), std::string::npos) << message;
                EXPECT_EQ(message.find("at theta itself") != std::string::npos, place == 0);
                EXPECT_NE(message.find("Lower the learning rate"), std::string::npos) << message;
            }
        }
    }
}

// The second order cancels: for a quadratic g = 1/n sum (q.e) e at any mu, with the variance that a
// linear function has.
TEST(SpsaEstimator, HasTheGradientOfAQuadraticAsItsMeanAtAnyMu) {
    const std::int64_t n = 2;
    const Quadratic loss;
    for (const double mu : {1e-2, 0.5}) {
        const at::Tensor g = estimates(*make_estimator("spsa", mu), theta, n, loss);
        const at::Tensor q = loss.gradient;
        const at::Tensor variance = (q.dot(q) + q * q) / n;
        expect_mean(g, q, variance, rounding(loss.slope_sum(mu), 1 + mu * 10, mu));
    }
}

TEST(SpsaEstimator, IsExactInTheSecondOrder) {
    // L = 3x + y + 2x^2 - xy at (1, -1): q = (8, 0). Every number is exact in binary.
    const auto loss = [](const at::Tensor& points) {
        const at::Tensor x = points.select(1, 0), y = points.select(1, 1);
        return 3 * x + y + 2 * x * x - x * y;
    };
    const at::Tensor at_point = at::tensor({1.0f, -1.0f});
    const at::Tensor directions = at::tensor({1.0f, 2.0f, 3.0f, -2.0f}).view({2, 2});
    const auto spsa = make_estimator("spsa", 0.5);
    const at::Tensor points = spsa->points(at_point, directions);
    const at::Tensor one_sided = at_point + 0.5 * directions;
    EXPECT_TRUE(at::equal(points, at::cat({one_sided, at_point - 0.5 * directions})));
    // Slopes 8 and 24; g = (8 (1, 2) + 24 (3, -2)) / 2.
    const at::Tensor g = spsa->estimate(loss(points.to(at::kDouble)), directions);
    EXPECT_TRUE(at::equal(g, at::tensor({40.0f, -16.0f}))) << g;
    // One-sided slopes have mu/2 e'Ae more: 0 and 12.
    const auto rge = make_estimator("rge", 0.5);
    const at::Tensor other =
        rge->estimate(loss(rge->points(at_point, directions).to(at::kDouble)), directions);
    EXPECT_TRUE(at::equal(other, at::tensor({58.0f, -28.0f}))) << other;
}

// With h(e) = (L(theta + mu e) - L(theta)) / mu a term is T_i = (h(e_{i+1}) - h(e_i)) e_{i+1}: the
// second part has mean 0 and the variance E h^2 = |q|^2 + mu^2/4 ((tr A)^2 + 2 tr A^2); its
// covariance with the first is mu^2/4 tr A (tr A + 2 A_jj). Terms that share an e_i do not
// correlate.
at::Tensor variance_of_one_point(const Quadratic& loss, double mu, std::int64_t n) {
    const at::Tensor q = loss.gradient, trace = loss.trace;
    const double part = mu * mu / 4;
    const at::Tensor first = q.dot(q) + q * q + part * loss.curvature();
    const at::Tensor second = q.dot(q) + part * (trace * trace + 2 * loss.square.trace());
    const at::Tensor both = part * trace * (trace + 2 * loss.diagonal);
    return (first + second - 2 * both) / n;
}

TEST(OnePointEstimator, HasTheGradientOfALinearFunctionAsItsMean) {
    for (const std::int64_t n : {1, 2, 5}) {
        const at::Tensor g = estimates(*make_estimator("one_point", 1e-3), theta, n, linear);
        const at::Tensor variance = (2 * slope.dot(slope) + slope * slope) / n;
        expect_mean(g, slope, variance, 2 * rounding(8.25, 1.1, 1e-3));
    }
}

TEST(OnePointEstimator, HasTheGradientOfAQuadraticAsItsMean) {
    const double mu = 0.5;
    const Quadratic loss;
    for (const std::int64_t n : {1, 3}) {
        const at::Tensor g = estimates(*make_estimator("one_point", mu), theta, n, loss);
        expect_mean(g, loss.gradient, variance_of_one_point(loss, mu, n),
                    2 * rounding(loss.slope_sum(mu), 1 + mu * 10, mu));
    }
}

// ZOODiP's S3 prints the factor e_i where residual feedback has e_{i+1}: its mean is minus the
// gradient. By symmetry the variance is the same.
TEST(OnePointEstimator, WithTheFactorAsPrintedWouldClimb) {
    const double mu = 0.5;
    const std::int64_t n = 2;
    const Quadratic loss;
    std::vector<at::Tensor> printed;
    for (std::int64_t step = 0; step < repeats; ++step) {
        const at::Tensor e = normal_directions(n + 1, step);
        const at::Tensor losses =
            loss(make_estimator("one_point", mu)->points(theta, e).to(at::kDouble));
        const at::Tensor slopes = (losses.slice(0, 1) - losses.slice(0, 0, n)) / mu;
        printed.push_back(at::matmul(slopes, e.slice(0, 0, n).to(at::kDouble)) / n);
    }
    expect_mean(at::stack(printed), -loss.gradient, variance_of_one_point(loss, mu, n),
                2 * rounding(loss.slope_sum(mu), 1 + mu * 10, mu));
}

TEST(OnePointEstimator, IsTheFormulaForGivenLosses) {
    const at::Tensor directions = at::tensor({8.0f, 8.0f, 1.0f, 2.0f, 0.0f, -4.0f}).view({3, 2});
    // slopes 0.5 / 0.5 and -0.75 / 0.5, with the factors of the later points.
    const at::Tensor g =
        make_estimator("one_point", 0.5)->estimate(vector({1, 1.5, 0.75}), directions);
    EXPECT_TRUE(at::equal(g, at::tensor({0.5f, 4.0f}))) << g;
}

TEST(Estimators, CountDirectionsAndPasses) {
    for (const std::int64_t n : {1, 2, 64}) {
        const auto rge = make_estimator("rge", 1), spsa = make_estimator("spsa", 1),
                   one_point = make_estimator("one_point", 1);
        EXPECT_EQ(rge->directions(n), n);
        EXPECT_EQ(rge->passes(n), n + 1);
        EXPECT_EQ(spsa->directions(n), n);
        EXPECT_EQ(spsa->passes(n), 2 * n);
        EXPECT_EQ(one_point->directions(n), n + 1);
        EXPECT_EQ(one_point->passes(n), n + 1);
    }
}

TEST(Estimators, KeepWhatTheirKindsSay) {
    for (const EstimatorKind* kind : all_estimators()) {
        const auto estimator = kind->make(0.25);
        for (const std::int64_t n : {1, 2, 64}) {
            const at::Tensor directions = draw_directions(estimator->directions(n), d, 0, 0);
            const at::Tensor points = estimator->points(theta, directions);
            EXPECT_EQ(points.size(0), estimator->passes(n)) << kind->name;
            EXPECT_EQ(at::equal(points[0], theta), kind->begins_at_theta) << kind->name;
        }
    }
}

TEST(Estimators, TellTheLossAtThetaOrTheMeanAroundIt) {
    const at::Tensor losses = vector({1, 3, 2, 6});
    EXPECT_EQ(make_estimator("rge", 1)->loss(losses), 1);
    EXPECT_EQ(make_estimator("spsa", 1)->loss(losses), 3);
    EXPECT_EQ(make_estimator("one_point", 1)->loss(losses), 3);
}

TEST(Estimators, RefuseWhatTheyCannotUse) {
    try {
        make_estimator("sgd", 1);
        FAIL() << "accepted";
    } catch (const Error& error) {
        EXPECT_NE(std::string(error.what()).find(", got 'sgd'"), std::string::npos);
    }
    for (const EstimatorKind* kind : all_estimators()) {
        const std::string name = kind->name;
        EXPECT_THROW(kind->make(0), Error) << name;
        const auto estimator = kind->make(1e-3);
        EXPECT_THROW(estimator->passes(0), Error) << name;
        EXPECT_THROW(estimator->points(theta, at::zeros({2, d + 1})), Error) << name;
        EXPECT_THROW(estimator->points(theta, at::zeros({0, d})), Error) << name;
        const at::Tensor directions = at::ones({2, d});
        const std::int64_t count = estimator->points(theta, directions).size(0);
        EXPECT_THROW(estimator->estimate(at::zeros({count + 1}), directions), Error) << name;
        at::Tensor losses = at::zeros({count});
        losses[count - 1] = std::nan("");
        EXPECT_THROW(estimator->estimate(losses, directions), Error) << name;
    }
    // One point alone has no neighbour.
    EXPECT_THROW(make_estimator("one_point", 1)->points(theta, at::zeros({1, d})), Error);
}

// A stored run must find its directions again: this fixes the stream and the place of each number.
TEST(Directions, AreElementsOfTheDirectionStream) {
    for (const std::int64_t width : {6, 7}) {
        const std::size_t padded = static_cast<std::size_t>(width + width % 2);
        std::vector<float> normals(3 * padded);
        RandomBlock(3, Stream::direction, 9).fill_normal(normals);
        const at::Tensor rows = at::tensor(normals).view({3, -1}).slice(1, 0, width);
        EXPECT_TRUE(at::equal(draw_directions(3, width, 3, 9), rows)) << width;
    }
}

TEST(Directions, KeepTheirFirstRowsWhenThereAreMore) {
    for (const std::int64_t width : {6, 7, 768}) {
        const at::Tensor many = draw_directions(8, width, 3, 9);
        for (const std::int64_t n : {1, 2, 5}) {
            EXPECT_TRUE(at::equal(draw_directions(n, width, 3, 9), many.slice(0, 0, n)));
        }
    }
}

TEST(Directions, DifferBetweenRowsStepsAndSeeds) {
    const at::Tensor first = draw_directions(2, d, 3, 9);
    EXPECT_FALSE(at::equal(first[0], first[1]));
    EXPECT_FALSE(at::equal(first, draw_directions(2, d, 3, 10)));
    EXPECT_FALSE(at::equal(first, draw_directions(2, d, 4, 9)));
}

// d^2 entries of the covariance of N(0, I): the mean of x_i x_j has variance 1 (2 on the diagonal).
// The odd width makes the last number of every row the first half of a pair.
TEST(Directions, HaveTheIdentityAsCovariance) {
    const at::Tensor e = draw_directions(repeats, d, 3, 9).to(at::kDouble);
    const at::Tensor covariance = at::matmul(e.t(), e) / repeats;
    const at::Tensor identity = at::eye(d, at::kDouble);
    const at::Tensor bound = 6 * ((1 + identity) / repeats).sqrt();
    EXPECT_TRUE(((covariance - identity).abs() <= bound).all().item<bool>()) << covariance;
    EXPECT_TRUE((e.mean(0).abs() <= 6 / std::sqrt(repeats)).all().item<bool>());
}

}  // namespace
}  // namespace zoodip
