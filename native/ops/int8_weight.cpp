#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include "core/error.h"
#include "ops/parallel.h"
#include "ops/vector_math.h"
#include "ops/weight_codec.h"

namespace zoodip {
namespace {

// max |row[i]|. The bits of non-negative floats are ordered as integers, and integer maxima are
// vectorised where float ones, for the sake of NaN, are not.
ZOODIP_INLINED inline float largest_magnitude(const float* row, std::int64_t length) {
    std::int32_t largest = 0;
    for (std::int64_t i = 0; i < length; ++i) {
        const auto bits = std::bit_cast<std::int32_t>(row[i]) & 0x7FFFFFFF;
        largest = bits > largest ? bits : largest;
    }
    return std::bit_cast<float>(largest);
}

template <class Out>
void dequantize_row(const std::int8_t* q, std::int64_t length, float s, Out* out) {
    for_cpu_isa([=] ZOODIP_INLINED {
        for (std::int64_t i = 0; i < length; ++i) store(s * static_cast<float>(q[i]), out + i);
    });
}

std::int64_t row_length(const at::Tensor& weight) {
    return weight.size(0) == 0 ? 0 : weight.numel() / weight.size(0);
}

template <class Out>
void dequantize_rows(const PackedWeight& weight, Out* out) {
    const std::int64_t length = row_length(weight.values);
    const auto* values = weight.values.const_data_ptr<std::int8_t>();
    const float* scale = weight.scale.const_data_ptr<float>();
    parallel_rows(weight.scale.size(0), length, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t row = begin; row < end; ++row) {
            dequantize_row(values + row * length, length, scale[row], out + row * length);
        }
    });
}

}  // namespace

void quantize_int8_row(const float* row, std::int64_t length, std::int8_t* values, float* scale) {
    for_cpu_isa([=] ZOODIP_INLINED {
        const float s = largest_magnitude(row, length) / 127.0f;
        const float divisor = s == 0 ? 1.0f : s;
        std::int8_t* __restrict to = values;
        for (std::int64_t i = 0; i < length; ++i) {
            // Beyond 127 only where s is so small that it is rounded itself.
            const std::int32_t q = rounded_bits(row[i] / divisor);
            const std::int32_t below = q < 127 ? q : 127;
            to[i] = static_cast<std::int8_t>(below > -128 ? below : -128);
        }
        *scale = s;
    });
}

PackedWeight quantize_int8(const at::Tensor& weight) {
    require_quantizable(weight);
    const at::Tensor ordered = weight.contiguous(weight.dim() == 4 ? at::MemoryFormat::ChannelsLast
                                                                   : at::MemoryFormat::Contiguous);
    const std::int64_t rows = weight.size(0), length = row_length(weight);
    PackedWeight out{weight.sizes().vec(),
                     at::empty_like(ordered, ordered.options().dtype(at::kChar)),
                     at::empty({rows}, ordered.options()),
                     {}};
    const float* in = ordered.const_data_ptr<float>();
    auto* values = out.values.mutable_data_ptr<std::int8_t>();
    auto* scale = out.scale.mutable_data_ptr<float>();
    parallel_rows(rows, length, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t row = begin; row < end; ++row) {
            quantize_int8_row(in + row * length, length, values + row * length, scale + row);
        }
    });
    return out;
}

at::Tensor dequantize_int8(const PackedWeight& weight, at::ScalarType type) {
    if (!weight.values.is_cpu()) return dequantize_int8_plain(weight, type);
    at::Tensor out = at::empty_like(weight.values, weight.values.options().dtype(type));
    if (type == at::kFloat) {
        dequantize_rows(weight, out.mutable_data_ptr<float>());
    } else if (type == at::kBFloat16) {
        dequantize_rows(weight, out.mutable_data_ptr<at::BFloat16>());
    } else {
        fail("dequantize int8: needs float32 or bfloat16, got ", c10::toString(type));
    }
    return out;
}

at::Tensor dequantize_int8_plain(const PackedWeight& weight, at::ScalarType type) {
    std::vector<std::int64_t> broadcast(weight.shape.size(), 1);
    broadcast[0] = weight.shape[0];
    return (weight.values.to(at::kFloat) * weight.scale.view(broadcast)).to(type);
}

std::int64_t int8_scale_bytes(std::int64_t) {
    return sizeof(float);
}

}  // namespace zoodip
