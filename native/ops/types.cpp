#include "ops/types.h"

#include "core/error.h"
#include "ops/panel_product.h"
#include "ops/weight_codec.h"

namespace zoodip {

WeightType part_weight_type(WeightType chosen, Part part) {
    return chosen == WeightType::int4 && part != Part::unet ? WeightType::int8 : chosen;
}

std::vector<std::string> weight_type_names() {
    std::vector<std::string> names;
    for (const WeightCodec& codec : weight_codecs()) names.push_back(codec.name);
    names.push_back("dense");
    return names;
}

WeightType parse_weight_type(std::string_view name) {
    std::string known;
    for (const WeightCodec& codec : weight_codecs()) {
        if (codec.name == name) return codec.type;
        known += concat(codec.name, ", ");
    }
    if (name == "dense") return WeightType::dense;
    fail("weights: expected ", known, "or dense, got '", name, "'");
}

std::vector<std::string> compute_type_names() {
    return {"fp32", "bf16", "int8"};
}

ComputeType parse_compute_type(std::string_view name) {
    if (name == "fp32") return ComputeType::float32;
    if (name == "bf16") return ComputeType::bfloat16;
    if (name == "int8") return ComputeType::int8;
    fail("compute type: expected fp32, bf16 or int8, got '", name, "'");
}

at::ScalarType scalar_type(ComputeType type) {
    return type == ComputeType::float32 ? at::kFloat : at::kBFloat16;
}

at::ScalarType stream_type(ComputeType type, at::Device device) {
    return device.is_cpu() ? at::kFloat : scalar_type(type);
}

// A processor without instructions for bfloat16 multiplies float32 faster than it imitates them.
at::ScalarType rounded_type(ComputeType type, at::Device device) {
    return device.is_cpu() && !has_panel_product(ProductType::bfloat16) ? at::kFloat
                                                                        : scalar_type(type);
}

}  // namespace zoodip
