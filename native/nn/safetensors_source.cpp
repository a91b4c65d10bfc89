#include "nn/safetensors_source.h"

#include <array>
#include <utility>

#include <ATen/ops/empty.h>

#include "core/error.h"

namespace zoodip {
namespace {

constexpr std::array<std::pair<Dtype, at::ScalarType>, 12> types = {
    {{Dtype::f64, at::kDouble},
     {Dtype::f32, at::kFloat},
     {Dtype::f16, at::kHalf},
     {Dtype::bf16, at::kBFloat16},
     {Dtype::i64, at::kLong},
     {Dtype::i32, at::kInt},
     {Dtype::i16, at::kShort},
     {Dtype::i8, at::kChar},
     {Dtype::u8, at::kByte},
     {Dtype::boolean, at::kBool},
     {Dtype::f8_e4m3, at::kFloat8_e4m3fn},
     {Dtype::f8_e5m2, at::kFloat8_e5m2}}};

}  // namespace

at::ScalarType scalar_type_of(Dtype type) {
    return types[static_cast<std::size_t>(type)].second;
}

Dtype dtype_of(at::ScalarType type) {
    for (const auto& [dtype, scalar] : types) {
        if (scalar == type) return dtype;
    }
    fail("safetensors: cannot hold numbers of type ", c10::toString(type));
}

at::Tensor read_tensor(const SafetensorsFile& file, const TensorInfo& info) {
    at::Tensor tensor = at::empty(info.shape, scalar_type_of(info.dtype));
    file.read(info, {static_cast<std::byte*>(tensor.mutable_data_ptr()), tensor.nbytes()});
    return tensor;
}

SafetensorsSource::SafetensorsSource(const std::vector<Part>& parts, std::string description,
                                     std::map<std::string, std::string> metadata)
    : metadata_(std::move(metadata)), description_(std::move(description)) {
    for (const Part& part : parts) {
        files_.push_back(std::make_unique<SafetensorsFile>(part.file));
        for (const TensorInfo& info : files_.back()->tensors()) {
            const auto name = part.rename(info.name);
            if (!name) continue;
            const Place place{files_.back().get(), &info};
            require(places_.emplace(*name, place).second, part.file.string(), ": '", info.name,
                    "' is there under another of its names too; the file is damaged");
        }
        metadata_.insert(files_.back()->metadata().begin(), files_.back()->metadata().end());
    }
    for (const auto& [name, place] : places_) {
        list_.push_back({name, place.info->shape, scalar_type_of(place.info->dtype)});
    }
}

at::Tensor SafetensorsSource::get(const std::string& name) const {
    const auto found = places_.find(name);
    require(found != places_.end(), description_, ": has no tensor '", name, "'");
    return read_tensor(*found->second.file, *found->second.info);
}

std::unique_ptr<WeightSource> open_checkpoint(const std::filesystem::path& file) {
    const auto same = [](const std::string& name) { return std::optional(name); };
    return std::make_unique<SafetensorsSource>(std::vector<SafetensorsSource::Part>{{file, same}},
                                               file.string(), std::map<std::string, std::string>{});
}

}  // namespace zoodip
