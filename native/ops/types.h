// The number types a run chooses from.
#pragma once

#include <string_view>

#include <c10/core/ScalarType.h>

namespace zoodip {

// How the weights of Linear and Conv2d layers are kept.
enum class WeightType {
    dense,  // as floating point, in the compute type
    int8,   // symmetric, one scale for each output channel
};

// The type of activations and of the products with the weights.
enum class ComputeType { float32, bfloat16 };

WeightType parse_weight_type(std::string_view name);    // "dense" | "int8"; Error otherwise
ComputeType parse_compute_type(std::string_view name);  // "fp32" | "bf16"; Error otherwise
at::ScalarType scalar_type(ComputeType type);

}  // namespace zoodip
