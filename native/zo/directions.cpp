#include "zo/directions.h"

#include <algorithm>
#include <cmath>
#include <tuple>
#include <utility>

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linalg_eigh.h>
#include <ATen/ops/linalg_qr.h>
#include <ATen/ops/linalg_svd.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros.h>

#include "core/error.h"
#include "core/random.h"
#include "zo/checks.h"

namespace zoodip {
namespace {

constexpr std::int64_t rows_at_once = 4096;  // of a vocabulary, in float64

void require_rows(const char* op, const at::Tensor& rows) {
    require(rows.dim() == 2 && rows.numel() > 0 && at::isFloatingType(rows.scalar_type()), op,
            ": needs rows [count, width] of numbers, got ", describe_tensor(rows));
}

struct Covariance {
    at::Tensor matrix;  // float64 [width, width]
    std::int64_t count = 0;
};

// Of the rows that are not all zeros, a part at a time.
Covariance covariance(const at::Tensor& rows) {
    const std::int64_t width = rows.size(1);
    at::Tensor square = at::zeros({width, width}, at::kDouble);
    at::Tensor sum = at::zeros({width}, at::kDouble);
    std::int64_t count = 0;
    for (std::int64_t begin = 0; begin < rows.size(0); begin += rows_at_once) {
        const at::Tensor part =
            rows.slice(0, begin, begin + rows_at_once).to(at::kCPU).to(at::kDouble);
        square += at::matmul(part.t(), part);  // rows of zeros add nothing
        sum += part.sum(0);
        count += part.ne(0).any(1).sum().item<std::int64_t>();
    }
    const double n = static_cast<double>(std::max<std::int64_t>(count, 1));
    const at::Tensor mean = sum / n;
    return {square / n - at::matmul(mean.unsqueeze(1), mean.unsqueeze(0)), count};
}

}  // namespace

at::Tensor draw_directions(std::int64_t n, std::int64_t d, std::uint64_t seed, std::uint64_t step) {
    require(n >= 1 && d >= 1, "directions: needs n >= 1 and d >= 1, got ", n, " and ", d);
    at::Tensor out = at::empty({n, d}, at::kFloat);
    const RandomBlock block(seed, Stream::direction, step);
    const auto width = static_cast<std::size_t>(d);
    const std::uint64_t padded = width + width % 2;  // normals come in pairs
    for (std::int64_t i = 0; i < n; ++i) {
        block.fill_normal({out.mutable_data_ptr<float>() + i * d, width},
                          static_cast<std::uint64_t>(i) * padded);
    }
    return out;
}

DirectionSpace::DirectionSpace(std::int64_t d) : size_(d), rank_(d) {
    require(d >= 1, "directions: needs d >= 1, got ", d);
}

DirectionSpace::DirectionSpace(std::vector<DirectionBlock> blocks) : blocks_(std::move(blocks)) {
    require(!blocks_.empty(), "directions: needs at least one block, got none");
    for (const DirectionBlock& block : blocks_) {
        require(block.vectors >= 1 && block.basis.dim() == 2 && block.basis.numel() > 0 &&
                    block.basis.scalar_type() == at::kFloat && block.basis.is_cpu(),
                "directions: needs a basis as float32 [rank, width] on the CPU, got ",
                describe_tensor(block.basis));
        size_ += block.vectors * block.basis.size(1);
        rank_ += block.vectors * block.basis.size(0);
    }
}

DirectionSpace DirectionSpace::orthogonal(const at::Tensor& basis) {
    DirectionSpace space({{1, basis}});
    space.orthogonal_ = true;
    return space;
}

// z: float32 [n, rank], N(0, I). Gram and Schmidt's vectors of its rows: QR with a positive
// diagonal of R, whatever the library's signs.
at::Tensor DirectionSpace::draw_orthogonal(const at::Tensor& z) const {
    require(z.size(0) <= rank_, "n: needs at most ", rank_,
            " slopes a step, the dimensions that the directions span; got ", z.size(0));
    const auto [q, r] = at::linalg_qr(z.t().to(at::kDouble));
    const at::Tensor rows = (q * r.diagonal().sign()).t();
    const double length = std::sqrt(static_cast<double>(rank_));
    return (length * at::matmul(rows, blocks_.front().basis.to(at::kDouble))).to(at::kFloat);
}

void DirectionSpace::set_scale(at::Tensor scale) {
    require(scale.dim() == 1 && scale.size(0) == size_ && scale.scalar_type() == at::kFloat &&
                scale.gt(0).all().item<bool>(),
            "directions: needs a scale as float32 [", size_, "], all above 0, got ",
            describe_tensor(scale));
    scale_ = std::move(scale);
}

at::Tensor DirectionSpace::draw(std::int64_t n, std::uint64_t seed, std::uint64_t step) const {
    const at::Tensor z = draw_directions(n, rank_, seed, step);
    if (blocks_.empty()) return z;
    if (orthogonal_) return draw_orthogonal(z);
    at::Tensor out = at::empty({n, size_}, at::kFloat);
    for (std::int64_t row = 0; row < n; ++row) {
        std::int64_t from = 0, to = 0;
        for (const DirectionBlock& block : blocks_) {
            const std::int64_t rank = block.basis.size(0), width = block.basis.size(1);
            for (std::int64_t i = 0; i < block.vectors; ++i, from += rank, to += width) {
                // Vector by vector: a product of many rows may sum in another order.
                out[row]
                    .slice(0, to, to + width)
                    .copy_(at::matmul(z[row].slice(0, from, from + rank), block.basis));
            }
        }
    }
    return out;
}

double DirectionSpace::rank_without(const at::Tensor& projection) const {
    if (blocks_.empty()) return static_cast<double>(size_ - projection.size(0));
    double taken = 0;
    std::int64_t offset = 0;
    for (const DirectionBlock& block : blocks_) {
        const std::int64_t width = block.basis.size(1), length = block.vectors * width;
        const at::Tensor part = projection.slice(1, offset, offset + length).reshape({-1, width});
        taken += at::matmul(part, block.basis.t()).square().sum().item<double>();
        offset += length;
    }
    return static_cast<double>(rank_) - taken;
}

at::Tensor principal_directions(const at::Tensor& rows, std::int64_t rank) {
    require_rows("principal directions", rows);
    const Covariance found = covariance(rows);
    const std::int64_t most = std::min(rows.size(1), found.count - 1);
    require(rank >= 1 && rank <= most, "principal directions: needs a rank from 1 to ", most,
            ", which ", found.count, " words of ", rows.size(1), " numbers span; got ", rank);
    const at::Tensor vectors = std::get<1>(at::linalg_eigh(found.matrix));  // ascending, columns
    return vectors.flip({1}).slice(1, 0, rank).t().contiguous().to(at::kFloat);
}

at::Tensor span_basis(const at::Tensor& rows) {
    require_rows("span", rows);
    const auto [u, values, right] =
        at::linalg_svd(rows.to(at::kCPU).to(at::kDouble), /*full_matrices=*/false);
    const double largest = values[0].item<double>();
    require(largest > 0, "span: needs rows that are not all zeros");
    const double limit = static_cast<double>(std::max(rows.size(0), rows.size(1))) * 0x1p-24;
    const auto rank = values.gt(limit * largest).sum().item<std::int64_t>();
    return right.slice(0, 0, rank).contiguous().to(at::kFloat);
}

}  // namespace zoodip
