// The frozen weight of a Linear or Conv2d layer: packed once as it is loaded, then opaque.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ops/types.h"

namespace zoodip {

// What a layer was given: quantised integers or floating point. One row of the table in
// frozen_weight.cpp for each WeightType.
class FrozenWeight {
  public:
    FrozenWeight() = default;

    // weight: [out, in] or [out, in, kernel, kernel], float32, CPU. A 4-D weight is kept
    // channels-last. `compute` is the type of dense weights; quantised ones are kept as integers.
    FrozenWeight(const at::Tensor& weight, WeightType type, ComputeType compute, at::Device device);

    // The weight in floating point, of the logical shape, on its device. For a quantised weight
    // this is a fresh tensor that the caller drops after use: at most one is alive at a time.
    at::Tensor dense(at::ScalarType type) const;

    // int8 values and scales [out] of a quantised weight; undefined tensors for a dense one.
    at::Tensor values() const { return values_; }
    at::Tensor scale() const { return scale_; }

    std::int64_t out_features() const { return shape_.at(0); }
    std::int64_t in_features() const { return shape_.at(1); }
    const std::vector<std::int64_t>& shape() const { return shape_; }
    std::int64_t bytes() const;

  private:
    std::vector<std::int64_t> shape_;
    WeightType type_ = WeightType::dense;
    at::Tensor values_;  // int8 or dense; memory order [out, kernel, kernel, in] when 4-D
    at::Tensor scale_;   // float32 [out]
};

struct Int8Weight {
    at::Tensor values;  // int8, shape and memory order of the weight
    at::Tensor scale;   // float32 [out]
};

// Symmetric INT8 for each output channel (ZOODiP Eq. 2): s = max|W_row| / 127,
// W_q = clamp(round_half_even(W / s), -128, 127). weight: float32, CPU, dense memory whose
// outermost dimension is out. A row of zeros has scale 0 and values 0.
Int8Weight quantize_int8(const at::Tensor& weight);

// W = s * W_q in `type` (float32 or bfloat16, rounded once from float32).
at::Tensor dequantize_int8(const Int8Weight& weight, at::ScalarType type);

}  // namespace zoodip
