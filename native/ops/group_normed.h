// A norm that is computed where its result is used.
#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

namespace zoodip {

// GroupNorm over [rows, channels, height, width] (Wu and He 2018), then SiLU if asked. Statistics
// in float32 or better.
struct GroupNormed {
    at::Tensor x;
    std::int64_t groups = 32;
    at::Tensor weight, bias;  // float32 [channels]
    double eps = 1e-5;
    bool silu = false;
};

}  // namespace zoodip
