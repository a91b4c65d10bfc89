#include "ops/weight_codec.h"

#include "core/error.h"

namespace zoodip {
namespace {

constexpr WeightCodec codecs[] = {
    {WeightType::int8, "int8", 8, quantize_int8, dequantize_int8, int8_scale_bytes},
    {WeightType::int4, "int4", 4, quantize_int4, dequantize_int4, int4_scale_bytes},
};

std::int64_t bytes_of(const at::Tensor& tensor) {
    return tensor.defined() ? static_cast<std::int64_t>(tensor.nbytes()) : 0;
}

}  // namespace

PackedWeight PackedWeight::to(at::Device device) const {
    return {shape, values.to(device), scale.to(device), shift.defined() ? shift.to(device) : shift};
}

std::int64_t PackedWeight::bytes() const {
    return bytes_of(values) + bytes_of(scale) + bytes_of(shift);
}

std::int64_t WeightCodec::bytes(at::IntArrayRef shape) const {
    std::int64_t row = 1;
    for (const std::int64_t size : shape.slice(1)) row *= size;
    return shape[0] * ((row * bits + 7) / 8 + scale_bytes(row));
}

std::span<const WeightCodec> weight_codecs() {
    return codecs;
}

const WeightCodec* find_codec(WeightType type) {
    for (const WeightCodec& codec : codecs) {
        if (codec.type == type) return &codec;
    }
    return nullptr;
}

void require_quantizable(const at::Tensor& weight) {
    require(weight.scalar_type() == at::kFloat && weight.is_cpu() &&
                (weight.dim() == 2 || weight.dim() == 4),
            "quantize: needs a float32 weight [out, in] or [out, in, kernel, kernel] on the CPU, ",
            "got ", weight.toString(), " ", weight.sizes());
}

}  // namespace zoodip
