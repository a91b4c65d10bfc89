#include "ops/types.h"

#include "core/error.h"
#include "ops/panel_product.h"
#include "ops/weight_codec.h"

namespace zoodip {

WeightType part_weight_type(WeightType chosen, Part part) {
    return chosen == WeightType::int4 && part != Part::unet ? WeightType::int8 : chosen;
}

const NameTable<WeightType>& weight_type_names() {
    static const NameTable<WeightType> names = [] {
        NameTable<WeightType> all;
        for (const WeightCodec& codec : weight_codecs()) all.push_back({codec.type, codec.name});
        all.push_back({WeightType::dense, "dense"});
        return all;
    }();
    return names;
}

WeightType parse_weight_type(std::string_view name) {
    if (const WeightType* found = find_named(weight_type_names(), name)) return *found;
    std::string known;
    for (const WeightCodec& codec : weight_codecs()) known += concat(codec.name, ", ");
    fail("weights: expected ", known, "or dense, got '", name, "'");
}

const NameTable<ComputeType>& compute_type_names() {
    static const NameTable<ComputeType> names = {{ComputeType::float32, "fp32"},
                                                 {ComputeType::bfloat16, "bf16"},
                                                 {ComputeType::int8, "int8"}};
    return names;
}

ComputeType parse_compute_type(std::string_view name) {
    const ComputeType* found = find_named(compute_type_names(), name);
    require(found != nullptr, "compute type: expected ", listed_or(names_in(compute_type_names())),
            ", got '", name, "'");
    return *found;
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
