// What the forward and the backward pass of attention on the CPU have in common.
//
// Scores are held transposed, [keys, queries], with 64 queries side by side: the softmax of a query
// then runs down a column, so that maxima, sums and rescaling are elementwise in the queries and
// every instruction set gives the same bits; and the scores are ready to be the right operand of
// the product that follows.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include <ATen/core/Tensor.h>
#include <c10/core/CPUAllocator.h>
#include <c10/util/BFloat16.h>

#include "ops/cpu_isa.h"
#include "ops/vector_math.h"

namespace zoodip::attention_tiles {

constexpr std::int64_t tile_queries = 64;  // the width for which oneDNN's kernels are fastest

struct Shape {
    std::int64_t rows, heads, queries, keys, width;
    std::int64_t query_tiles() const { return (queries + tile_queries - 1) / tile_queries; }
};

// The weight of a score is 2^(scale score - offset), scale being log2(e) / sqrt(width).
struct Exponents {
    float scale, lowest;
};

inline std::int64_t round_up(std::int64_t n, std::int64_t step) {
    return (n + step - 1) / step * step;
}

// q, k or v: one head's [tokens, width], `stride` numbers from token to token.
template <class Number>
struct Matrix {
    Number* data;
    std::int64_t stride;
    Number* row(std::int64_t token) const { return data + token * stride; }
};

// The matrix of a head in x [rows or 1, tokens, heads * width]; a single row serves every row.
template <class Number>
Matrix<Number> head_of(const at::Tensor& x, std::int64_t row, std::int64_t head,
                       std::int64_t width) {
    const std::int64_t offset = (x.size(0) == 1 ? 0 : row) * x.stride(0) + head * width;
    if constexpr (std::is_const_v<Number>) {
        return {x.const_data_ptr<std::remove_const_t<Number>>() + offset, x.stride(1)};
    } else {
        return {x.mutable_data_ptr<Number>() + offset, x.stride(1)};
    }
}

// Throws Error where q, k and v do not belong together.
Shape shape_of(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, std::int64_t heads);

Exponents exponents_of(const Shape& shape);

// Uninitialised numbers on a cache line's boundary.
template <class Number>
class Buffer {
  public:
    explicit Buffer(std::int64_t size)
        : memory_(
              c10::GetCPUAllocator()->allocate(static_cast<std::size_t>(size) * sizeof(Number))) {}
    Number* get() const { return static_cast<Number*>(memory_.get()); }

  private:
    at::DataPtr memory_;
};

template <class To, class From>
ZOODIP_INLINED inline To converted(From x) {
    if constexpr (std::is_same_v<To, From>) {
        return x;
    } else if constexpr (std::is_same_v<To, float>) {
        return widened(x);
    } else {
        return To(to_bfloat16_bits(x), To::from_bits());
    }
}

// `count` rows of `width` numbers, converted, and zeros after each up to `padded`.
template <class To, class From>
void copy_rows(const Matrix<const From>& from, std::int64_t count, std::int64_t width,
               const Matrix<To>& to, std::int64_t padded) {
    for_cpu_isa([&] ZOODIP_INLINED {
        for (std::int64_t row = 0; row < count; ++row) {
            const From* __restrict in = from.row(row);
            To* __restrict out = to.row(row);
            for (std::int64_t c = 0; c < width; ++c) out[c] = converted<To>(in[c]);
            for (std::int64_t c = width; c < padded; ++c) out[c] = To(0.0f);
        }
    });
}

// out[c][r] = in[r][c] for r < rows, c < columns, of numbers of four bytes.
void transpose(const Matrix<const float>& in, std::int64_t rows, std::int64_t columns,
               const Matrix<float>& out);

}  // namespace zoodip::attention_tiles
