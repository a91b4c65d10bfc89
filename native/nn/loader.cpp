#include "nn/loader.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/ops/from_blob.h>

#include "core/error.h"
#include "core/memory.h"
#include "nn/inventory.h"
#include "nn/tensorwise.h"
#include "ops/finite.h"

namespace zoodip {
namespace {

// Bytes of weights between two times that freed memory is given back.
constexpr std::size_t give_back_after = 64u << 20;

// Sixteen windows of 64 bytes, evenly spread: a fine-tune or a merged LoRA changes nearly every
// number of the tensors that it touches.
void take_in(Sha256& hash, const WeightInfo& info, const PartReader& bytes) {
    constexpr std::size_t windows = 16, size = 64;
    hash.update(concat(info.name, at::IntArrayRef(info.shape), c10::toString(info.dtype)));
    const auto all = static_cast<std::size_t>(stored_bytes(info));
    std::vector<std::byte> part(std::min(all, windows * size));
    if (all <= windows * size) {
        bytes(0, part);
        return hash.update(part);
    }
    for (std::size_t i = 0; i < windows; ++i) {
        const std::span window(part.data(), size);
        bytes((all - size) / (windows - 1) * i, window);
        hash.update(window);
    }
}

PartReader bytes_of(const at::Tensor& tensor) {
    return [tensor](std::size_t from, std::span<std::byte> out) {
        std::memcpy(out.data(), static_cast<const std::byte*>(tensor.const_data_ptr()) + from,
                    out.size());
    };
}

std::string format_shape(at::IntArrayRef sizes) {
    return concat(sizes);
}

}  // namespace

LoadOptions LoadOptions::for_part(Part part) const {
    LoadOptions own = *this;
    own.weights = part_weight_type(weights, part);
    if (part == Part::text_encoder || (part == Part::vae && !device.is_cpu())) {
        own.compute = ComputeType::float32;
    } else if (part == Part::vae && compute == ComputeType::int8) {
        own.compute = ComputeType::bfloat16;
    }
    if (part != Part::unet) own.activations = nullptr;
    return own;
}

std::int64_t Loader::size(const std::string& name, std::int64_t dimension) const {
    const WeightInfo* info = source_.find(name);
    require(info != nullptr, source_.description(), ": has no tensor '", name, "'");
    require(dimension < static_cast<std::int64_t>(info->shape.size()), source_.description(), ": '",
            name, "' has ", info->shape.size(), " dimensions, expected more than ", dimension);
    return info->shape[static_cast<std::size_t>(dimension)];
}

at::Tensor Loader::read(const std::string& name) const {
    options_.cancel.check();
    if (read_bytes_ > give_back_after) {
        give_back_memory();
        read_bytes_ = 0;
    }
    at::Tensor tensor = source_.get(name);
    read_bytes_ += tensor.nbytes();
    require(at::isFloatingType(tensor.scalar_type()), source_.description(), ": '", name,
            "' holds ", c10::toString(tensor.scalar_type()), ", expected floating point");
    const bool narrowed = tensor.scalar_type() == at::kDouble;  // what float32 cannot hold is inf
    require_finite(name, narrowed ? tensor.to(at::kFloat) : tensor);
    if (options_.fingerprint) {
        take_in(*options_.fingerprint, {name, tensor.sizes().vec(), tensor.scalar_type()},
                bytes_of(tensor));
    }
    return tensor;
}

at::Tensor Loader::take_integers(const WeightInfo& info) const {
    options_.cancel.check();
    at::Tensor integers = source_.get(info.name);
    if (options_.fingerprint) {
        take_in(*options_.fingerprint, info, bytes_of(integers));
        const at::Tensor scale = tensorwise_scale(source_, info);
        take_in(*options_.fingerprint,
                {info.name + " scale", scale.sizes().vec(), scale.scalar_type()}, bytes_of(scale));
    }
    return integers;
}

void Loader::require_finite(const std::string& name, const at::Tensor& tensor) const {
    require(all_finite(tensor), source_.description(), ": '", name,
            "' holds NaN or infinity. The file is damaged or was saved from a broken training; "
            "use another copy");
}

at::Tensor Loader::parameter(const std::string& name) const {
    return read(name).to(options_.device, at::kFloat);
}

TokenTable Loader::table(const std::string& name) const {
    at::Tensor tensor = read(name);
    require(tensor.dim() == 2, source_.description(), ": '", name, "' has shape ",
            format_shape(tensor.sizes()), ", expected 2 dimensions");
    const PartReader reader = options_.device.is_cpu() ? source_.part_reader(name) : PartReader();
    if (reader) return TokenTable(tensor, reader);
    if (tensor.scalar_type() == at::kDouble) tensor = tensor.to(at::kFloat);
    return TokenTable(tensor.to(options_.device));
}

FrozenWeight Loader::pack(const std::string& name, std::int64_t dimensions) const {
    const auto logical = [&](at::IntArrayRef stored) {
        const bool pointwise =
            dimensions == 2 && stored.size() == 4 && stored[2] == 1 && stored[3] == 1;
        return pointwise ? stored.slice(0, 2).vec() : stored.vec();
    };
    const auto require_dimensions = [&](const std::vector<std::int64_t>& shape) {
        require(static_cast<std::int64_t>(shape.size()) == dimensions, source_.description(), ": '",
                name, "' has shape ", format_shape(shape), ", expected ", dimensions,
                " dimensions");
    };
    const WeightInfo* info = source_.find(name);
    const PartReader reader = info == nullptr ? PartReader() : source_.part_reader(name);
    if (reader && FrozenWeight::packs_rows(logical(info->shape), info->dtype, options_.weights,
                                           options_.device)) {
        require_dimensions(logical(info->shape));
        options_.cancel.check();
        if (options_.fingerprint) take_in(*options_.fingerprint, *info, reader);
        const PartReader checked = [&](std::size_t from, std::span<std::byte> out) {
            reader(from, out);
            const auto count = out.size() / c10::elementSize(info->dtype);
            require_finite(
                name, at::from_blob(out.data(), {static_cast<std::int64_t>(count)}, info->dtype));
        };
        return {PanelWeight(logical(info->shape), info->dtype, checked), options_.compute};
    }
    if (info != nullptr && is_tensorwise(source_, *info)) {
        require_dimensions(logical(info->shape));
        const at::Tensor integers = take_integers(*info).view(logical(info->shape));
        return {integers, tensorwise_scale(source_, *info), options_.weights, options_.compute,
                options_.device};
    }
    at::Tensor tensor = read(name);
    const auto shape = logical(tensor.sizes());
    require_dimensions(shape);
    return {tensor.view(shape), options_.weights, options_.compute, options_.device};
}

FrozenWeight Loader::weight(const std::string& name, std::int64_t dimensions) const {
    FrozenWeight weight = pack(name, dimensions);
    if (options_.activations && weight.panels() != nullptr &&
        weight.panels()->integers() != nullptr) {
        const auto row =
            static_cast<double>(weight.panels()->taps() * weight.panels()->in_features());
        weight.set_activation(options_.activations->add(name, row));
    }
    return weight;
}

Linear Loader::linear(const std::string& prefix) const {
    return linear(prefix + ".weight", prefix + ".bias");
}

Linear Loader::linear(const std::string& weight_name, const std::string& bias_name) const {
    Linear layer{weight(weight_name, 2), {}};
    layer.bias = optional_bias(bias_name, layer.weight.out_features());
    return layer;
}

Linear Loader::projection(const std::string& name) const {
    if (name.ends_with(".weight")) return {weight(name, 2), {}};
    const at::Tensor turned = read(name);
    require(turned.dim() == 2, source_.description(), ": '", name, "' has shape ",
            format_shape(turned.sizes()), ", expected 2 dimensions");
    return {{turned.t().contiguous(), options_.weights, options_.compute, options_.device}, {}};
}

Conv2d Loader::conv2d(const std::string& prefix, std::int64_t stride, std::int64_t padding) const {
    Conv2d layer{weight(prefix + ".weight", 4), {}, stride, padding};
    layer.bias = optional_bias(prefix + ".bias", layer.weight.out_features());
    return layer;
}

at::Tensor Loader::vector(const std::string& name) const {
    at::Tensor tensor = parameter(name);
    require(tensor.dim() == 1, source_.description(), ": '", name, "' has shape ",
            format_shape(tensor.sizes()), ", expected one dimension");
    return tensor;
}

at::Tensor Loader::bias(const std::string& name, std::int64_t size) const {
    at::Tensor bias = parameter(name);
    require(bias.dim() == 1 && bias.size(0) == size, source_.description(), ": '", name,
            "' has shape ", format_shape(bias.sizes()), ", expected [", size, "]");
    return bias;
}

at::Tensor Loader::optional_bias(const std::string& name, std::int64_t size) const {
    return has(name) ? bias(name, size) : at::Tensor();
}

LayerNorm Loader::layer_norm(const std::string& prefix) const {
    const at::Tensor weight = vector(prefix + ".weight");
    return {weight, bias(prefix + ".bias", weight.size(0))};
}

GroupNorm Loader::group_norm(const std::string& prefix, double eps) const {
    const at::Tensor weight = vector(prefix + ".weight");
    return {weight, bias(prefix + ".bias", weight.size(0)), eps};
}

}  // namespace zoodip
