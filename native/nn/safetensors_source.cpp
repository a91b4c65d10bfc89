#include "nn/safetensors_source.h"

#include <array>
#include <span>
#include <utility>

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include "core/error.h"
#include "core/memory.h"
#include "ops/parallel.h"

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

// Bytes from which a tensor has pages of its own. Between the weights that stay, the heap would
// keep the holes of those that were only read to be packed.
constexpr std::uint64_t large = 1 << 20;

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
    const at::ScalarType type = scalar_type_of(info.dtype);
    at::Tensor tensor;
    if (info.end - info.begin < large) {
        tensor = at::empty(info.shape, type);
    } else {
        std::shared_ptr<void> pages = allocate_pages(info.end - info.begin);
        tensor = at::from_blob(
            pages.get(), info.shape, [pages](void*) {}, type);
    }
    const std::span all(static_cast<std::byte*>(tensor.mutable_data_ptr()), tensor.nbytes());
    // A single thread does not read a cached file as fast as memory is filled.
    constexpr std::int64_t grain = 1 << 20;
    const auto size = static_cast<std::int64_t>(all.size());
    parallel_ranges(size, grain, [&](std::int64_t begin, std::int64_t end) {
        const auto from = static_cast<std::size_t>(begin);
        file.read(info, from, all.subspan(from, static_cast<std::size_t>(end) - from));
    });
    return tensor;
}

SafetensorsSource::SafetensorsSource(const std::vector<Part>& parts, std::string description,
                                     std::map<std::string, std::string> metadata)
    : metadata_(std::move(metadata)), description_(std::move(description)) {
    for (const Part& part : parts) {
        files_.push_back(std::make_shared<const SafetensorsFile>(part.file));
        for (const TensorInfo& info : files_.back()->tensors()) {
            const auto name = part.rename(info.name);
            if (!name) continue;
            const Place place{files_.back(), &info};
            require(places_.emplace(*name, place).second, part.file.string(), ": '", info.name,
                    "' is there under another of its names too; the file is damaged");
        }
        metadata_.insert(files_.back()->metadata().begin(), files_.back()->metadata().end());
    }
    for (const auto& [name, place] : places_) {
        list_.push_back({name, place.info->shape, scalar_type_of(place.info->dtype)});
    }
}

const SafetensorsSource::Place& SafetensorsSource::place_of(const std::string& name) const {
    const auto found = places_.find(name);
    require(found != places_.end(), description_, ": has no tensor '", name, "'");
    return found->second;
}

at::Tensor SafetensorsSource::get(const std::string& name) const {
    const Place& place = place_of(name);
    return read_tensor(*place.file, *place.info);
}

PartReader SafetensorsSource::part_reader(const std::string& name) const {
    return [place = place_of(name)](std::size_t from, std::span<std::byte> out) {
        place.file->read(*place.info, from, out);
    };
}

std::unique_ptr<WeightSource> open_checkpoint(const std::filesystem::path& file) {
    const auto same = [](const std::string& name) { return std::optional(name); };
    return std::make_unique<SafetensorsSource>(std::vector<SafetensorsSource::Part>{{file, same}},
                                               file.string(), std::map<std::string, std::string>{});
}

}  // namespace zoodip
