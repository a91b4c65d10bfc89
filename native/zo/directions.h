// Where a step looks: random directions, in all of theta's numbers or within a subspace.
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

namespace zoodip {

// The directions of a step, float32 [n, d], N(0, I). Number j of row i is element i * padded + j of
// RandomBlock(seed, Stream::direction, step), padded = d rounded up to even: more rows do not
// change the first ones. Throws Error unless n >= 1 and d >= 1.
at::Tensor draw_directions(std::int64_t n, std::int64_t d, std::uint64_t seed, std::uint64_t step);

// A piece of theta whose directions are combinations of a basis.
struct DirectionBlock {
    std::int64_t vectors = 1;  // so many vectors one after another, each with the basis
    at::Tensor basis;          // float32 [rank, width], orthonormal rows
};

// e = z U with z ~ N(0, I) of as many numbers as the bases have rows: the estimate is that of the
// gradient's projection on the span, in `rank` instead of `d` dimensions.
class DirectionSpace {
  public:
    // N(0, I) in all d numbers.
    explicit DirectionSpace(std::int64_t d);
    // The blocks lie one after another in theta. Throws Error for a basis without rows.
    explicit DirectionSpace(std::vector<DirectionBlock> blocks);

    // Directions within the span of U, float32 [rank, d] with orthonormal rows, of which the n of a
    // step are orthogonal: e = sqrt(rank) q U with q, orthonormal rows, uniform among all such.
    // E e e^T = U^T U as for a normal z, but of |g|^2 an estimate has rank / n times as much, not
    // (rank + n + 1) / n, and with n = rank it is the projection itself. Throws Error for another
    // type.
    static DirectionSpace orthogonal(const at::Tensor& basis);

    // How far each number is moved for one of mu, float32 [d], positive; undefined for one each. A
    // slope along s e tells (s e) . g, so that g is estimated from e / s. Throws Error for another
    // size.
    void set_scale(at::Tensor scale);
    const at::Tensor& scale() const { return scale_; }

    // float32 [n, d], without the scale; the same bits for the same (seed, step, row), whatever n
    // is, but for orthogonal ones. Throws Error for more of those than there are dimensions.
    at::Tensor draw(std::int64_t n, std::uint64_t seed, std::uint64_t step) const;

    // Dimensions that an estimate keeps when those of P, float32 [rows, d] with orthonormal rows,
    // are taken out of it: tr U (I - P^T P) U^T, which is d - rows where directions lie anywhere.
    double rank_without(const at::Tensor& projection) const;

    std::int64_t size() const { return size_; }  // d
    std::int64_t rank() const { return rank_; }  // dimensions that directions span

  private:
    at::Tensor draw_orthogonal(const at::Tensor& z) const;

    std::vector<DirectionBlock> blocks_;  // empty: everything
    bool orthogonal_ = false;             // of the one block
    std::int64_t size_ = 0, rank_ = 0;
    at::Tensor scale_;
};

// The `rank` leading principal directions of rows [count, width]: eigenvectors of their covariance,
// largest first. Rows of zeros, which were never trained, are left out. float32 [rank, width].
// Throws Error unless 1 <= rank <= min(width, rows that are left - 1).
at::Tensor principal_directions(const at::Tensor& rows, std::int64_t rank);

// An orthonormal basis of what the rows [count, width] span, float32 [rank, width]. Throws Error
// when all are zero.
at::Tensor span_basis(const at::Tensor& rows);

}  // namespace zoodip
