#include "ops/types.h"

#include "core/error.h"

namespace zoodip {

WeightType parse_weight_type(std::string_view name) {
    if (name == "dense") return WeightType::dense;
    if (name == "int8") return WeightType::int8;
    fail("weights: expected dense or int8, got '", name, "'");
}

ComputeType parse_compute_type(std::string_view name) {
    if (name == "fp32") return ComputeType::float32;
    if (name == "bf16") return ComputeType::bfloat16;
    fail("compute type: expected fp32 or bf16, got '", name, "'");
}

at::ScalarType scalar_type(ComputeType type) {
    return type == ComputeType::float32 ? at::kFloat : at::kBFloat16;
}

}  // namespace zoodip
