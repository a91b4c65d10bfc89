#include "ops/attention_tiles.h"

#include "core/error.h"

#if defined(__SSE__) || defined(_M_X64)
#include <xmmintrin.h>
#define ZOODIP_HAS_SSE  // every x86-64 processor
#endif

namespace zoodip::attention_tiles {
namespace {

void transpose_4x4(const float* in, std::int64_t in_stride, float* out, std::int64_t out_stride) {
#ifdef ZOODIP_HAS_SSE
    __m128 a = _mm_loadu_ps(in), b = _mm_loadu_ps(in + in_stride);
    __m128 c = _mm_loadu_ps(in + 2 * in_stride), d = _mm_loadu_ps(in + 3 * in_stride);
    _MM_TRANSPOSE4_PS(a, b, c, d);
    _mm_storeu_ps(out, a);
    _mm_storeu_ps(out + out_stride, b);
    _mm_storeu_ps(out + 2 * out_stride, c);
    _mm_storeu_ps(out + 3 * out_stride, d);
#else
    for (std::int64_t r = 0; r < 4; ++r) {
        for (std::int64_t c = 0; c < 4; ++c) out[c * out_stride + r] = in[r * in_stride + c];
    }
#endif
}

}  // namespace

Shape shape_of(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, std::int64_t heads) {
    require(q.dim() == 3 && k.dim() == 3 && v.dim() == 3 && k.size(1) == v.size(1) && k.size(1) > 0,
            "attention: needs [rows, tokens, channels] with as many keys as values, got q ",
            q.sizes(), ", k ", k.sizes(), ", v ", v.sizes());
    require(heads > 0 && q.size(2) % heads == 0 && k.size(2) == q.size(2) && v.size(2) == q.size(2),
            "attention: needs channels divisible by ", heads, " and the same of each, got ",
            q.size(2), ", ", k.size(2), " and ", v.size(2));
    const std::int64_t rows = std::max({q.size(0), k.size(0), v.size(0)});
    for (const at::Tensor& x : {q, k, v}) {
        require(x.size(0) == rows || x.size(0) == 1, "attention: needs ", rows, " rows or 1, got ",
                x.size(0));
        require(x.stride(2) == 1 || x.size(2) == 1,
                "attention: needs channels one after the other, got a stride of ", x.stride(2));
        require(x.scalar_type() == q.scalar_type(), "attention: needs one type, got ",
                at::toString(q.scalar_type()), " and ", at::toString(x.scalar_type()));
    }
    return {rows, heads, q.size(1), k.size(1), q.size(2) / heads};
}

Exponents exponents_of(const Shape& shape) {
    constexpr double log2_e = 1.4426950408889634;
    return {static_cast<float>(log2_e / std::sqrt(static_cast<double>(shape.width))),
            lowest_exponent};
}

void transpose(const Matrix<const float>& in, std::int64_t rows, std::int64_t columns,
               const Matrix<float>& out) {
    const std::int64_t whole_rows = rows / 4 * 4, whole_columns = columns / 4 * 4;
    for (std::int64_t r = 0; r < whole_rows; r += 4) {
        for (std::int64_t c = 0; c < whole_columns; c += 4) {
            transpose_4x4(in.row(r) + c, in.stride, out.row(c) + r, out.stride);
        }
    }
    for (std::int64_t r = 0; r < rows; ++r) {
        for (std::int64_t c = r < whole_rows ? whole_columns : 0; c < columns; ++c) {
            out.row(c)[r] = in.row(r)[c];
        }
    }
}

}  // namespace zoodip::attention_tiles
