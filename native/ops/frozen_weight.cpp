#include "ops/frozen_weight.h"

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "ops/int4_panels.h"
#include "ops/panel_weight.h"

namespace zoodip {
namespace {

// Fewer channels than this make a product that is a small share of a network and would mostly
// multiply zeros in panels: the first and the last layer, from and to the channels of pictures and
// latents.
constexpr std::int64_t least_channels = 16;

bool few_channels(const std::vector<std::int64_t>& shape) {
    return std::min(shape[0], shape[1]) < least_channels;
}

bool suits_panels(const std::vector<std::int64_t>& shape, WeightType type, at::Device device) {
    return type != WeightType::dense && device.is_cpu() && !few_channels(shape) &&
           (shape.size() == 2 || shape[2] == shape[3]) && has_panel_product(ProductType::float32);
}

std::shared_ptr<const PanelSource> make_panels(const at::Tensor& weight, WeightType type) {
    if (type == WeightType::int4) {
        return std::make_shared<Int4Panels>(quantize_int4(weight.to(at::kFloat)));
    }
    return std::make_shared<PanelWeight>(weight);
}

}  // namespace

FrozenWeight::FrozenWeight(const at::Tensor& weight, WeightType type, ComputeType compute,
                           at::Device device)
    : shape_(weight.sizes().vec()),
      compute_(compute),
      on_cpu_(device.is_cpu()),
      codec_(find_codec(type)) {
    require(weight.dim() == 2 || weight.dim() == 4,
            "frozen weight: needs [out, in] or [out, in, kernel, kernel], got ", weight.dim(),
            " dimensions");
    if (suits_panels(shape_, type, device)) {
        panels_ = make_panels(weight, type);
        return;
    }
    if (codec_ != nullptr) {
        packed_ = codec_->quantize(weight.to(at::kFloat)).to(device);
        return;
    }
    const auto format =
        weight.dim() == 4 ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous;
    dense_ = weight.contiguous(format).to(device, input_type(scalar_type(compute)));
}

FrozenWeight::FrozenWeight(const at::Tensor& integers, const at::Tensor& scale, WeightType type,
                           ComputeType compute, at::Device device) {
    const auto format =
        integers.dim() == 4 ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous;
    const auto packed = [&] {
        return PackedWeight{integers.sizes().vec(), integers.contiguous(format), scale, {}};
    };
    if (type != WeightType::int8) {
        *this = FrozenWeight(dequantize_int8(packed(), at::kFloat), type, compute, device);
        return;
    }
    shape_ = integers.sizes().vec();
    compute_ = compute;
    on_cpu_ = device.is_cpu();
    codec_ = find_codec(type);
    if (suits_panels(shape_, type, device)) {
        panels_ = std::make_shared<PanelWeight>(integers, scale);
    } else {
        packed_ = packed().to(device);
    }
}

FrozenWeight::FrozenWeight(PanelWeight panels, ComputeType compute)
    : shape_(panels.shape()),
      compute_(compute),
      codec_(find_codec(WeightType::int8)),
      panels_(std::make_shared<PanelWeight>(std::move(panels))) {}

bool FrozenWeight::packs_rows(const std::vector<std::int64_t>& shape, at::ScalarType stored,
                              WeightType type, at::Device device) {
    const bool readable = stored == at::kHalf || stored == at::kBFloat16 || stored == at::kFloat;
    return readable && type == WeightType::int8 && (shape.size() == 2 || shape.size() == 4) &&
           suits_panels(shape, type, device);
}

at::Tensor FrozenWeight::dense(at::ScalarType type) const {
    if (panels_) return panels_->dense(type);
    return codec_ != nullptr ? codec_->dequantize(packed_, type) : dense_.to(type);
}

bool FrozenWeight::at_an_end() const {
    return few_channels(shape_);
}

at::ScalarType FrozenWeight::input_type(at::ScalarType activations) const {
    if (!on_cpu_) return activations;
    return at_an_end() ? at::kFloat : rounded_type(compute_, at::kCPU);
}

}  // namespace zoodip
