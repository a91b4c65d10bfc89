#include "io/safetensors_header.h"

#include <algorithm>
#include <array>
#include <set>
#include <utility>

#include <nlohmann/json.hpp>

#include "core/error.h"

namespace zoodip {
namespace {

using nlohmann::json;

constexpr std::uint64_t max_header = 100'000'000;  // the reference library's own limit

struct DtypeRow {
    Dtype type;
    const char* name;
    std::uint64_t size;
};
constexpr std::array<DtypeRow, 12> dtype_table = {{{Dtype::f64, "F64", 8},
                                                   {Dtype::f32, "F32", 4},
                                                   {Dtype::f16, "F16", 2},
                                                   {Dtype::bf16, "BF16", 2},
                                                   {Dtype::i64, "I64", 8},
                                                   {Dtype::i32, "I32", 4},
                                                   {Dtype::i16, "I16", 2},
                                                   {Dtype::i8, "I8", 1},
                                                   {Dtype::u8, "U8", 1},
                                                   {Dtype::boolean, "BOOL", 1},
                                                   {Dtype::f8_e4m3, "F8_E4M3", 1},
                                                   {Dtype::f8_e5m2, "F8_E5M2", 1}}};

const DtypeRow& row_of(Dtype type) {
    return dtype_table[static_cast<std::size_t>(type)];
}

std::optional<Dtype> parse_dtype(const std::string& name) {
    for (const auto& row : dtype_table) {
        if (name == row.name) return row.type;
    }
    return std::nullopt;
}

// Words, markup and the pointers of git-lfs: letters and line breaks, with some space between.
bool is_text(std::string_view start) {
    return start.find_first_of(" \n") != std::string::npos &&
           std::all_of(start.begin(), start.end(), [](char c) {
               return (c >= ' ' && c <= '~') || c == '\n' || c == '\r' || c == '\t';
           });
}

// What a file that is no safetensors file looks like by its first bytes.
std::string describe_start(std::string_view start) {
    const auto begins = [&](const char* text) { return start.starts_with(text); };
    const bool pickled = start.size() >= 2 && start[0] == '\x80' && start[1] >= 2 && start[1] <= 5;
    if (begins("PK\x03\x04") || pickled) {
        return "is a Python pickle (.ckpt, .pt, .bin), which can run code when it is loaded. "
               "Convert it to .safetensors, or download that form of the model";
    }
    if (begins("GGUF")) {
        return "is a GGUF file. Use the original .safetensors checkpoint; zoodip quantises it "
               "itself";
    }
    if (begins("<") || is_text(start)) {
        return "is a text page, not the model itself: the download went wrong. Fetch it again";
    }
    return "is not a .safetensors file, or is damaged";
}

json parse_json(std::string_view text, const std::string& name) {
    std::vector<std::set<std::string>> open;  // the keys of each object that is not closed yet
    const auto watch = [&](int depth, json::parse_event_t event, json& value) {
        require(depth <= 3, name, ": the header is nested too deeply; the file is damaged");
        if (event == json::parse_event_t::object_start) open.emplace_back();
        if (event == json::parse_event_t::object_end) open.pop_back();
        if (event == json::parse_event_t::key) {
            const auto key = value.get<std::string>();
            require(open.back().insert(key).second, name, ": the header holds '", key,
                    "' twice; the file is damaged");
        }
        return true;
    };
    try {
        json header = json::parse(text, watch);
        require(header.is_object(), name, ": the header is not a JSON object; the file is damaged");
        return header;
    } catch (const json::exception&) {
        fail(name, ": the header is not JSON; the file is damaged or of another kind");
    }
}

std::vector<std::int64_t> parse_shape(const json& value, const std::string& where) {
    require(value.is_array() && value.size() <= 16, where, ": has no valid shape");
    std::vector<std::int64_t> shape;
    for (const auto& size : value) {
        require(size.is_number_unsigned() && size.get<std::uint64_t>() < (1ull << 48), where,
                ": has no valid shape");
        shape.push_back(size.get<std::int64_t>());
    }
    return shape;
}

TensorInfo parse_tensor(const std::string& name, const json& entry, const std::string& file) {
    const std::string where = concat(file, ": tensor '", name, "'");
    require(entry.is_object() && entry.contains("dtype") && entry["dtype"].is_string() &&
                entry.contains("shape") && entry.contains("data_offsets"),
            where, " lacks dtype, shape or data_offsets; the file is damaged");
    const auto type = entry["dtype"].get<std::string>();
    const auto dtype = parse_dtype(type);
    require(dtype.has_value(), where, " has type ", type, ", which is not supported. Use a ",
            "checkpoint in F16, BF16 or F32");
    const auto& offsets = entry["data_offsets"];
    require(offsets.is_array() && offsets.size() == 2 && offsets[0].is_number_unsigned() &&
                offsets[1].is_number_unsigned(),
            where, " has no valid data_offsets; the file is damaged");
    TensorInfo tensor{name, *dtype, parse_shape(entry["shape"], where),
                      offsets[0].get<std::uint64_t>(), offsets[1].get<std::uint64_t>()};
    require(tensor.begin <= tensor.end && tensor_bytes(tensor) == tensor.end - tensor.begin, where,
            ": its shape and its bytes disagree; the file is damaged");
    return tensor;
}

// Offsets count from the end of the header and must cover the rest of the file without gaps.
void require_layout(std::vector<TensorInfo> tensors, std::uint64_t data, const std::string& file) {
    std::sort(tensors.begin(), tensors.end(), [](const TensorInfo& a, const TensorInfo& b) {
        return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
    });
    std::uint64_t at = 0;
    for (const TensorInfo& tensor : tensors) {
        require(tensor.begin == at, file, ": tensor '", tensor.name,
                tensor.begin < at ? "' overlaps another" : "' leaves a gap before it",
                "; the file is damaged");
        at = tensor.end;
    }
    require(at <= data, file, ": is truncated: its tensors need ", at, " bytes, ", data,
            " are there. Fetch it again");
    require(at == data, file, ": has ", data - at, " bytes after its last tensor; it is damaged");
}

std::map<std::string, std::string> parse_metadata(const json& header, const std::string& file) {
    std::map<std::string, std::string> metadata;
    if (!header.contains("__metadata__")) return metadata;
    require(header["__metadata__"].is_object(), file, ": __metadata__ is not an object");
    for (const auto& [key, value] : header["__metadata__"].items()) {
        require(value.is_string(), file, ": metadata '", key, "' is not text");
        metadata[key] = value.get<std::string>();
    }
    return metadata;
}

}  // namespace

const char* dtype_name(Dtype type) {
    return row_of(type).name;
}
std::uint64_t dtype_size(Dtype type) {
    return row_of(type).size;
}

std::optional<std::uint64_t> tensor_bytes(const TensorInfo& tensor) {
    std::uint64_t bytes = row_of(tensor.dtype).size;
    for (const std::int64_t size : tensor.shape) {
        const auto count = static_cast<std::uint64_t>(size);
        if (count != 0 && bytes > ~0ull / count) return std::nullopt;
        bytes *= count;
    }
    return bytes;
}

std::uint64_t read_header_length(std::string_view start, std::uint64_t size,
                                 const std::string& name) {
    require(size > 0, name, ": is empty");
    std::uint64_t length = 0;
    for (std::size_t i = 0; i < 8 && i < start.size(); ++i) {
        length |= static_cast<std::uint64_t>(static_cast<unsigned char>(start[i])) << (8 * i);
    }
    const bool plausible = start.size() > 8 && start[8] == '{' && length <= max_header;
    require(plausible, name, ": ", describe_start(start));
    require(8 + length <= size, name, ": is truncated: its header alone has ", length,
            " bytes, the file ", size, ". Fetch it again");
    return length;
}

SafetensorsHeader parse_header(std::string_view text, std::uint64_t size, const std::string& name) {
    const json parsed = parse_json(text, name);
    SafetensorsHeader header;
    header.metadata = parse_metadata(parsed, name);
    for (const auto& [key, entry] : parsed.items()) {
        if (key != "__metadata__") header.tensors.push_back(parse_tensor(key, entry, name));
    }
    const std::uint64_t data = 8 + text.size();
    require_layout(header.tensors, size - data, name);
    for (TensorInfo& tensor : header.tensors) {
        tensor.begin += data;
        tensor.end += data;
    }
    std::sort(header.tensors.begin(), header.tensors.end(),
              [](const TensorInfo& a, const TensorInfo& b) { return a.name < b.name; });
    return header;
}

}  // namespace zoodip
