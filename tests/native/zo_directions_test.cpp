// Directions within a subspace: their distribution, their bits, and bases of vocabularies.
#include <cmath>
#include <cstdint>
#include <tuple>
#include <vector>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "zo/directions.h"

namespace zoodip {
namespace {

constexpr double float_unit = 0x1p-24;

// float32 [rank, width] with orthonormal rows.
at::Tensor orthonormal(std::int64_t rank, std::int64_t width, std::uint64_t seed) {
    const at::Tensor random = draw_directions(width, rank, seed, 0).to(at::kDouble);
    return std::get<0>(at::linalg_qr(random)).t().contiguous().to(at::kFloat);
}

// A word of two vectors of width 5 and one of width 4: d = 14 numbers, 2 * 2 + 3 dimensions.
DirectionSpace small_space() {
    return DirectionSpace({{2, orthonormal(2, 5, 1)}, {1, orthonormal(3, 4, 2)}});
}

// U of small_space, float64 [7, 14].
at::Tensor small_basis() {
    const at::Tensor narrow = orthonormal(2, 5, 1), wide = orthonormal(3, 4, 2);
    return at::block_diag({narrow, narrow, wide}).to(at::kDouble);
}

// e = z U has the covariance S = U'U; the mean of x_i x_j over N draws has the variance
// (S_ii S_jj + S_ij^2) / N. A number is a sum of at most three products, each rounded once: what
// that adds to x_i x_j is below 2 * 4 u.
TEST(DirectionSpace, DrawsHaveTheCovarianceOfTheBasis) {
    const std::int64_t draws = 40000;
    const at::Tensor u = small_basis(), expected = at::matmul(u.t(), u);
    // Rows of one step come from one block of numbers; 64 are the most that a step has.
    std::vector<at::Tensor> rows;
    for (std::uint64_t step = 0; step < draws / 64; ++step) {
        rows.push_back(small_space().draw(64, 3, step));
    }
    const at::Tensor e = at::cat(rows).to(at::kDouble);
    const at::Tensor found = at::matmul(e.t(), e) / e.size(0);
    const at::Tensor deviation =
        (at::outer(expected.diagonal(), expected.diagonal()) + expected * expected) / e.size(0);
    const at::Tensor bound = 6 * deviation.sqrt() + 8 * float_unit;
    EXPECT_TRUE(((found - expected).abs() <= bound).all().item<bool>()) << found - expected;
    EXPECT_TRUE((e.mean(0).abs() <= 6 * (expected.diagonal() / e.size(0)).sqrt() + float_unit)
                    .all()
                    .item<bool>());
}

TEST(DirectionSpace, DrawsLieWithinTheBasis) {
    const at::Tensor u = small_basis(), e = small_space().draw(64, 3, 0).to(at::kDouble);
    const at::Tensor outside = e - at::matmul(at::matmul(e, u.t()), u);
    // U's own rounding, u in each number, and three products; |z| stays below 6.
    EXPECT_LT(outside.abs().max().item<double>(), 6 * 3 * 4 * float_unit);
    EXPECT_GT(e.abs().max().item<double>(), 1);
}

TEST(DirectionSpace, CountsNumbersAndDimensions) {
    EXPECT_EQ(small_space().size(), 14);
    EXPECT_EQ(small_space().rank(), 7);
    EXPECT_EQ(DirectionSpace(9).size(), 9);
    EXPECT_EQ(DirectionSpace(9).rank(), 9);
}

TEST(DirectionSpace, WithoutABasisDrawsAreThoseOfAllNumbers) {
    EXPECT_TRUE(at::equal(DirectionSpace(7).draw(3, 5, 9), draw_directions(3, 7, 5, 9)));
}

// A row is a value of (seed, step, row): the same bits whatever stands beside it.
TEST(DirectionSpace, KeepsTheBitsOfItsFirstRowsWhenThereAreMore) {
    const DirectionSpace space({{2, orthonormal(32, 768, 1)}});
    const at::Tensor many = space.draw(8, 3, 9);
    for (const std::int64_t n : {1, 2, 3, 5, 8}) {
        EXPECT_TRUE(at::equal(space.draw(n, 3, 9), many.slice(0, 0, n))) << n;
    }
    EXPECT_FALSE(at::equal(many[0], many[1]));
    EXPECT_FALSE(at::equal(space.draw(1, 3, 10)[0], many[0]));
    EXPECT_FALSE(at::equal(space.draw(1, 4, 9)[0], many[0]));
}

// tr U (I - P'P) U'. In float32 a product of P and U sums 14 terms, its square is summed over at
// most 3 * 7 of them; each is off by fewer than 14 + 3 u of at most 1.
TEST(DirectionSpace, CountsTheDimensionsThatAProjectionLeaves) {
    const at::Tensor p = orthonormal(3, 14, 7), u = small_basis();
    const at::Tensor left = at::eye(14, at::kDouble) - at::matmul(p.t(), p).to(at::kDouble);
    const double expected = at::matmul(at::matmul(u, left), u.t()).trace().item<double>();
    EXPECT_NEAR(small_space().rank_without(p), expected, 21 * 2 * 17 * float_unit);
    EXPECT_GT(expected, 4);
    EXPECT_LT(expected, 7);
    // P within the directions takes as many as it has rows, P across them none.
    EXPECT_NEAR(small_space().rank_without(u.slice(0, 0, 2).to(at::kFloat)), 5, 1e-5);
    EXPECT_EQ(small_space().rank_without(at::empty({0, 14})), 7);
    EXPECT_EQ(DirectionSpace(14).rank_without(p), 11);
}

TEST(DirectionSpace, KeepsAScaleThatFits) {
    DirectionSpace space(3);
    EXPECT_FALSE(space.scale().defined());
    const at::Tensor before = space.draw(2, 1, 0);
    space.set_scale(at::tensor({1.0f, 2.0f, 0.5f}));
    EXPECT_TRUE(at::equal(space.draw(2, 1, 0), before));  // which stay those of theta's numbers
    EXPECT_THROW(space.set_scale(at::ones({2})), Error);
    EXPECT_THROW(space.set_scale(at::tensor({1.0f, 0.0f, 1.0f})), Error);
}

TEST(DirectionSpace, RefusesABasisThatIsNone) {
    EXPECT_THROW(DirectionSpace(0), Error);
    EXPECT_THROW(DirectionSpace(std::vector<DirectionBlock>{}), Error);
    EXPECT_THROW(DirectionSpace({{1, at::zeros({0, 4})}}), Error);
    EXPECT_THROW(DirectionSpace({{0, at::ones({1, 4})}}), Error);
    EXPECT_THROW(DirectionSpace({{1, at::ones({4})}}), Error);
    EXPECT_THROW(DirectionSpace({{1, at::ones({1, 4}, at::kDouble)}}), Error);
    EXPECT_THROW(small_space().draw(0, 0, 0), Error);
}

TEST(PrincipalDirections, AreThoseOfWordsThatWereTrained) {
    // Along (3, 4) / 5 the words spread most; rows of zeros would pull the mean to the origin.
    const at::Tensor words =
        at::tensor({1003.0f, 4.0f, 997.0f, -4.0f, 1002.0f, -1.5f, 998.0f, 1.5f}).view({4, 2});
    const at::Tensor with_zeros = at::cat({at::zeros({50, 2}), words, at::zeros({3, 2})});
    const at::Tensor found = principal_directions(with_zeros, 2);
    const at::Tensor along = at::tensor({0.6f, 0.8f});
    // The second moment of numbers near 1000 is off by 1e6 * 2^-53 in each of a few operations, far
    // below the variances 12.5 and 3.125; what remains is the result's rounding.
    EXPECT_NEAR(std::abs(found[0].dot(along).item<double>()), 1, 4 * float_unit);
    EXPECT_NEAR(found[1].dot(along).item<double>(), 0, 4 * float_unit);
    EXPECT_EQ(found.scalar_type(), at::kFloat);
    EXPECT_TRUE(
        at::equal(principal_directions(with_zeros.to(at::kDouble), 1), found.slice(0, 0, 1)));
}

TEST(PrincipalDirections, RefusesMoreThanTheWordsSpan) {
    const at::Tensor words = at::cat({draw_directions(4, 9, 1, 0), at::zeros({20, 9})});
    EXPECT_EQ(principal_directions(words, 3).size(0), 3);
    for (const std::int64_t rank : {0, 4, 9}) {
        EXPECT_THROW(principal_directions(words, rank), Error) << rank;
    }
    EXPECT_THROW(principal_directions(at::zeros({5, 3}), 1), Error);
    EXPECT_THROW(principal_directions(at::zeros({5, 3}, at::kLong), 1), Error);
    EXPECT_THROW(principal_directions(at::zeros({5}), 1), Error);
}

TEST(SpanBasis, SpansTheRowsAndNothingElse) {
    const at::Tensor rows = draw_directions(3, 8, 1, 0);
    // A row twice, and one that is the sum of two, bring no new direction.
    const at::Tensor more = at::cat({rows, rows.slice(0, 1, 2), (rows[0] + rows[2]).unsqueeze(0)});
    const at::Tensor u = span_basis(more).to(at::kDouble);
    ASSERT_EQ(u.size(0), 3);
    const at::Tensor gram = at::matmul(u, u.t());
    EXPECT_LT((gram - at::eye(3, at::kDouble)).abs().max().item<double>(), 4 * float_unit);
    const at::Tensor wide = rows.to(at::kDouble);
    const at::Tensor outside = wide - at::matmul(at::matmul(wide, u.t()), u);
    // The sum of two rows was rounded, which turns the span by about u; so does U's own rounding.
    EXPECT_LT(outside.norm().item<double>(), 8 * float_unit * wide.norm().item<double>());
    EXPECT_THROW(span_basis(at::zeros({2, 3})), Error);
    EXPECT_THROW(span_basis(at::zeros({3})), Error);
}

// Of a step the rows are orthogonal, sqrt(rank) long and within the basis; a row is a sum of five
// products, rounded once.
TEST(DirectionSpace, OrthogonalDirectionsAreAFrameOfTheBasis) {
    const at::Tensor u = orthonormal(5, 12, 4);
    const DirectionSpace space = DirectionSpace::orthogonal(u);
    EXPECT_EQ(space.size(), 12);
    EXPECT_EQ(space.rank(), 5);
    for (const std::int64_t n : {1, 3, 5}) {
        const at::Tensor e = space.draw(n, 7, 2).to(at::kDouble);
        ASSERT_EQ(e.sizes(), at::IntArrayRef({n, 12}));
        const at::Tensor expected = 5 * at::eye(n, at::kDouble);
        EXPECT_LT((at::matmul(e, e.t()) - expected).abs().max().item<double>(),
                  5 * 16 * float_unit);
        const at::Tensor wide = u.to(at::kDouble);
        const at::Tensor outside = e - at::matmul(at::matmul(e, wide.t()), wide);
        EXPECT_LT(outside.abs().max().item<double>(), 5 * 4 * float_unit);
        EXPECT_TRUE(at::equal(space.draw(n, 7, 2), e.to(at::kFloat)));
    }
    EXPECT_FALSE(at::equal(space.draw(3, 7, 2), space.draw(3, 7, 3)));
    EXPECT_THROW(space.draw(6, 7, 2), Error);
}

// With as many slopes as dimensions the estimate is the projection of the gradient itself.
TEST(DirectionSpace, AWholeFrameGivesTheProjectionOfAGradient) {
    const at::Tensor u = orthonormal(5, 12, 4).to(at::kDouble);
    const at::Tensor g = at::arange(12, at::kDouble) - 4;
    const at::Tensor e = DirectionSpace::orthogonal(u.to(at::kFloat)).draw(5, 1, 9).to(at::kDouble);
    const at::Tensor found = at::matmul(at::matmul(e, g), e) / 5;
    const at::Tensor expected = at::matmul(at::matmul(u, g), u);
    EXPECT_LT((found - expected).abs().max().item<double>(),
              16 * float_unit * g.norm().item<double>());
}

// E e e^T = U^T U: of 1 000 draws of two rows the mean is off by less than six deviations, each at
// most sqrt(rank) of a product.
TEST(DirectionSpace, OrthogonalDirectionsSpreadEvenly) {
    const at::Tensor u = orthonormal(5, 12, 4), wide = u.to(at::kDouble);
    const DirectionSpace space = DirectionSpace::orthogonal(u);
    at::Tensor sum = at::zeros({12, 12}, at::kDouble);
    for (std::uint64_t step = 0; step < 1000; ++step) {
        const at::Tensor e = space.draw(2, 3, step).to(at::kDouble);
        sum += at::matmul(e.t(), e) / 2;
    }
    const at::Tensor expected = at::matmul(wide.t(), wide);
    EXPECT_LT((sum / 1000 - expected).abs().max().item<double>(), 6 * std::sqrt(5.0 / 2000));
}

}  // namespace
}  // namespace zoodip
