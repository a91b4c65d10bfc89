#include "ops/frozen_weight.h"

#include "core/error.h"

namespace zoodip {

FrozenWeight::FrozenWeight(const at::Tensor& weight, WeightType type, ComputeType compute,
                           at::Device device)
    : shape_(weight.sizes().vec()), codec_(find_codec(type)) {
    require(weight.dim() == 2 || weight.dim() == 4,
            "frozen weight: needs [out, in] or [out, in, kernel, kernel], got ", weight.dim(),
            " dimensions");
    if (codec_ != nullptr) {
        packed_ = codec_->quantize(weight).to(device);
        return;
    }
    const auto format =
        weight.dim() == 4 ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous;
    dense_ = weight.contiguous(format).to(device, scalar_type(compute));
}

at::Tensor FrozenWeight::dense(at::ScalarType type) const {
    return codec_ != nullptr ? codec_->dequantize(packed_, type) : dense_.to(type);
}

}  // namespace zoodip
