#include "ops/frozen_weight.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include "core/error.h"
#include "ops/multiversion.h"

namespace zoodip {
namespace {

// Rows handed to a thread at a time: enough work to outweigh the hand-over.
std::int64_t row_grain(std::int64_t row_length) {
    return std::max<std::int64_t>(1, 32768 / std::max<std::int64_t>(1, row_length));
}

// max |row[i]|. The bits of non-negative floats are ordered as integers, and integer maxima are
// vectorised where float ones, for the sake of NaN, are not.
ZOODIP_MULTIVERSION float largest_magnitude(const float* row, std::int64_t length) {
    std::int32_t largest = 0;
    for (std::int64_t i = 0; i < length; ++i) {
        const auto bits = std::bit_cast<std::int32_t>(row[i]) & 0x7FFFFFFF;
        largest = bits > largest ? bits : largest;
    }
    return std::bit_cast<float>(largest);
}

ZOODIP_MULTIVERSION void quantize_row(const float* row, std::int64_t length, std::int8_t* values,
                                      float* scale) {
    const float s = largest_magnitude(row, length) / 127.0f;
    *scale = s;
    if (s == 0) {
        std::fill_n(values, length, std::int8_t{0});
        return;
    }
    for (std::int64_t i = 0; i < length; ++i) {
        // Beyond 127 only where s is so small that it is rounded itself.
        const float q = std::nearbyint(row[i] / s);
        values[i] = static_cast<std::int8_t>(q > 127 ? 127.0f : q < -128 ? -128.0f : q);
    }
}

ZOODIP_MULTIVERSION void dequantize_row(const std::int8_t* q, std::int64_t length, float s,
                                        float* out) {
    for (std::int64_t i = 0; i < length; ++i) out[i] = s * q[i];
}

ZOODIP_MULTIVERSION void dequantize_row(const std::int8_t* q, std::int64_t length, float s,
                                        at::BFloat16* out) {
    for (std::int64_t i = 0; i < length; ++i) out[i] = s * q[i];
}

template <class Out>
void dequantize_rows(const Int8Weight& weight, Out* out) {
    const std::int64_t rows = weight.scale.size(0);
    const std::int64_t length = rows == 0 ? 0 : weight.values.numel() / rows;
    const std::int8_t* values = weight.values.const_data_ptr<std::int8_t>();
    const float* scale = weight.scale.const_data_ptr<float>();
    at::parallel_for(0, rows, row_grain(length), [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t row = begin; row < end; ++row) {
            dequantize_row(values + row * length, length, scale[row], out + row * length);
        }
    });
}

at::Tensor dequantize_anywhere(const Int8Weight& weight, at::ScalarType type) {
    std::vector<std::int64_t> broadcast(weight.values.dim(), 1);
    broadcast[0] = weight.scale.size(0);
    return (weight.values.to(at::kFloat) * weight.scale.view(broadcast)).to(type);
}

}  // namespace

Int8Weight quantize_int8(const at::Tensor& weight) {
    require(weight.scalar_type() == at::kFloat && weight.is_cpu() && weight.dim() >= 1,
            "quantize_int8: needs a float32 weight of at least one dimension on the CPU, got ",
            weight.toString());
    require(weight.is_non_overlapping_and_dense() &&
                (weight.dim() < 2 || weight.numel() == 0 ||
                 weight.stride(0) * weight.size(0) == weight.numel()),
            "quantize_int8: needs dense memory with the output channels outermost");
    const std::int64_t rows = weight.size(0);
    const std::int64_t length = rows == 0 ? 0 : weight.numel() / rows;
    Int8Weight out{at::empty_like(weight, weight.options().dtype(at::kChar)),
                   at::empty({rows}, weight.options())};
    const float* in = weight.const_data_ptr<float>();
    auto* values = out.values.mutable_data_ptr<std::int8_t>();
    auto* scale = out.scale.mutable_data_ptr<float>();
    at::parallel_for(0, rows, row_grain(length), [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t row = begin; row < end; ++row) {
            quantize_row(in + row * length, length, values + row * length, scale + row);
        }
    });
    return out;
}

at::Tensor dequantize_int8(const Int8Weight& weight, at::ScalarType type) {
    if (!weight.values.is_cpu()) return dequantize_anywhere(weight, type);
    at::Tensor out = at::empty_like(weight.values, weight.values.options().dtype(type));
    if (type == at::kFloat) {
        dequantize_rows(weight, out.mutable_data_ptr<float>());
    } else if (type == at::kBFloat16) {
        dequantize_rows(weight, out.mutable_data_ptr<at::BFloat16>());
    } else {
        fail("dequantize_int8: needs float32 or bfloat16, got ", c10::toString(type));
    }
    return out;
}

FrozenWeight::FrozenWeight(const at::Tensor& weight, WeightType type, ComputeType compute,
                           at::Device device)
    : shape_(weight.sizes().vec()), type_(type) {
    require(weight.dim() == 2 || weight.dim() == 4,
            "frozen weight: needs [out, in] or [out, in, kernel, kernel], got ", weight.dim(),
            " dimensions");
    const auto format =
        weight.dim() == 4 ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous;
    const at::Tensor ordered = weight.contiguous(format);
    if (type == WeightType::int8) {
        const Int8Weight packed = quantize_int8(ordered);
        values_ = packed.values.to(device);
        scale_ = packed.scale.to(device);
    } else {
        values_ = ordered.to(device, scalar_type(compute));
    }
}

at::Tensor FrozenWeight::dense(at::ScalarType type) const {
    if (type_ == WeightType::int8) return dequantize_int8({values_, scale_}, type);
    return values_.to(type);
}

std::int64_t FrozenWeight::bytes() const {
    if (!values_.defined()) return 0;
    const std::int64_t scales = scale_.defined() ? static_cast<std::int64_t>(scale_.nbytes()) : 0;
    return static_cast<std::int64_t>(values_.nbytes()) + scales;
}

}  // namespace zoodip
