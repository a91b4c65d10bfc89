// The frozen weight of a Linear or Conv2d layer: packed once as it is loaded, then opaque.
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ops/types.h"
#include "ops/weight_codec.h"

namespace zoodip {

// What a layer was given: quantised integers or floating point.
class FrozenWeight {
  public:
    FrozenWeight() = default;

    // weight: [out, in] or [out, in, kernel, kernel], float32, CPU. `compute` is the type of dense
    // weights; quantised ones are kept as integers.
    FrozenWeight(const at::Tensor& weight, WeightType type, ComputeType compute, at::Device device);

    // The weight in floating point, of the logical shape, on its device; a 4-D weight in
    // channels-last memory. For a quantised weight this is a fresh tensor that the caller drops
    // after use: at most one is alive at a time.
    at::Tensor dense(at::ScalarType type) const;

    std::int64_t out_features() const { return shape_.at(0); }
    std::int64_t in_features() const { return shape_.at(1); }
    const std::vector<std::int64_t>& shape() const { return shape_; }

  private:
    std::vector<std::int64_t> shape_;
    const WeightCodec* codec_ = nullptr;  // of a quantised weight
    PackedWeight packed_;
    at::Tensor dense_;  // of the other kind
};

}  // namespace zoodip
