// The header of a safetensors file: what its JSON says about the tensors that follow.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace zoodip {

enum class Dtype { f64, f32, f16, bf16, i64, i32, i16, i8, u8, boolean, f8_e4m3, f8_e5m2 };

// As the format spells it: "F16".
const char* dtype_name(Dtype type);
std::uint64_t dtype_size(Dtype type);

struct TensorInfo {
    std::string name;
    Dtype dtype;
    std::vector<std::int64_t> shape;
    std::uint64_t begin = 0, end = 0;  // bytes of the file
};

// Bytes of a tensor of this type and shape; nullopt when the number overflows.
std::optional<std::uint64_t> tensor_bytes(const TensorInfo& tensor);

struct SafetensorsHeader {
    std::vector<TensorInfo> tensors;  // sorted by name
    std::map<std::string, std::string> metadata;
};

// As many first bytes of a file as tell what it is.
inline constexpr std::size_t header_start = 64;

// The length of the JSON, from the first min(size, header_start) bytes of a file of `size` bytes.
// Throws Error that names the file, and its kind where it is another.
std::uint64_t read_header_length(std::string_view start, std::uint64_t size,
                                 const std::string& name);

// The JSON of a file of `size` >= 8 + text.size() bytes. What is returned is consistent: keys are
// unique, and the tensors cover the bytes after the header without gaps. Throws Error that names
// the file.
SafetensorsHeader parse_header(std::string_view text, std::uint64_t size, const std::string& name);

}  // namespace zoodip
