// The quantised types: a table of one row a type, and its codec.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ops/types.h"

namespace zoodip {

// A quantised weight, laid out as its codec has it.
struct PackedWeight {
    std::vector<std::int64_t> shape;  // [out, in] or [out, in, kernel, kernel]
    at::Tensor values;                // integers
    at::Tensor scale;                 // float32
    at::Tensor shift;                 // float32; undefined where the type is symmetric

    PackedWeight to(at::Device device) const;
    std::int64_t bytes() const;
};

// How one type packs the weight of a Linear or Conv2d layer.
struct WeightCodec {
    WeightType type;
    const char* name;  // in settings
    int bits;          // of one value

    // weight: float32, CPU, [out, in] or [out, in, kernel, kernel], finite. Error otherwise.
    PackedWeight (*quantize)(const at::Tensor& weight);
    // float32 or bfloat16 (rounded once from float32), of the weight's shape, on its device; a 4-D
    // weight in channels-last memory.
    at::Tensor (*dequantize)(const PackedWeight& weight, at::ScalarType type);
    // Bytes of the scales and shifts of an output channel of `row` weights.
    std::int64_t (*scale_bytes)(std::int64_t row);

    // Those of a packed weight of this shape.
    std::int64_t bytes(at::IntArrayRef shape) const;
};

std::span<const WeightCodec> weight_codecs();

// nullptr for WeightType::dense.
const WeightCodec* find_codec(WeightType type);

// Error unless it is what WeightCodec::quantize takes.
void require_quantizable(const at::Tensor& weight);

// Those that follow: `_plain` is the same by torch's own operators, for devices without a kernel.

// INT8, symmetric, one scale for each output channel (ZOODiP Eq. 2; optimum-quanto's qint8):
// s = max|W_row| / 127, W_q = clamp(round_half_even(W / s), -128, 127), W = s W_q. values: int8 of
// the weight's shape, 4-D in channels-last memory; scale [out]. A row of zeros has scale 0.
PackedWeight quantize_int8(const at::Tensor& weight);
void quantize_int8_row(const float* row, std::int64_t length, std::int8_t* values, float* scale);
at::Tensor dequantize_int8(const PackedWeight& weight, at::ScalarType type);
at::Tensor dequantize_int8_plain(const PackedWeight& weight, at::ScalarType type);
std::int64_t int8_scale_bytes(std::int64_t row);

// INT4, asymmetric, in groups (optimum-quanto's qint4). A row of a contiguous weight, in * kernel *
// kernel numbers, falls into groups of 128, 96, 64 or 32, the largest that divides it; a row of at
// most 128, or one that none of them divides, is one group. For each group
// s = (max - min) / 15, z = -min, W_q = clamp(round_half_even((W + z) / s), 0, 15), W = s W_q - z.
// scale and shift: [out, groups]. A group of equal numbers has scale 0 and is exact.
// values: uint8 [out, ceil(row / 2)]; with the row in channels-last order (kernel, kernel, in) its
// first half is in the lower four bits, its second half in the upper.
PackedWeight quantize_int4(const at::Tensor& weight);
at::Tensor dequantize_int4(const PackedWeight& weight, at::ScalarType type);
at::Tensor dequantize_int4_plain(const PackedWeight& weight, at::ScalarType type);
std::int64_t int4_scale_bytes(std::int64_t row);

}  // namespace zoodip
