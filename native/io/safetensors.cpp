#include "io/safetensors.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <utility>

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "io/atomic_file.h"
#ifdef _WIN32
#define NOMINMAX
#include <io.h>
#include <windows.h>
#else
#include <unistd.h>
#endif

namespace zoodip {

SafetensorsFile::SafetensorsFile(const std::filesystem::path& file) : path_(file) {
    std::error_code error;
    require(!std::filesystem::is_directory(file, error), file.string(),
            ": is a folder, expected a file");
    // Opening a pipe would wait for its other end.
    require(!std::filesystem::is_other(file, error), file.string(),
            ": is a device or a pipe, expected a file");
#ifdef _WIN32
    handle_ = _open(file.string().c_str(), _O_RDONLY | _O_BINARY);
#else
    handle_ = open(file.c_str(), O_RDONLY | O_CLOEXEC);
#endif
    require(handle_ >= 0, "cannot open ", file.string(), ": ", std::strerror(errno));
    try {
        size_ = std::filesystem::file_size(file, error);
        require(!error, "cannot read ", file.string(), ": ", error.message());
        read_header();
    } catch (...) {
        close(handle_);
        throw;
    }
}

SafetensorsFile::~SafetensorsFile() {
    close(handle_);
}

void SafetensorsFile::read_header() {
    const std::string name = path_.string();
    std::string start(std::min<std::uint64_t>(size_, header_start), '\0');
    read_at(0, std::as_writable_bytes(std::span(start)));
    std::string text(read_header_length(start, size_, name), '\0');
    read_at(8, std::as_writable_bytes(std::span(text)));
    header_ = parse_header(text, size_, name);
}

const TensorInfo* SafetensorsFile::find(const std::string& name) const {
    const auto found = std::lower_bound(
        header_.tensors.begin(), header_.tensors.end(), name,
        [](const TensorInfo& tensor, const std::string& key) { return tensor.name < key; });
    return found != header_.tensors.end() && found->name == name ? &*found : nullptr;
}

void SafetensorsFile::read(const TensorInfo& tensor, std::span<std::byte> out) const {
    require(out.size() == tensor.end - tensor.begin, path_.string(), ": tensor '", tensor.name,
            "' has ", tensor.end - tensor.begin, " bytes, ", out.size(), " were asked for");
    read(tensor, 0, out);
}

void SafetensorsFile::read(const TensorInfo& tensor, std::size_t from,
                           std::span<std::byte> out) const {
    const std::uint64_t size = tensor.end - tensor.begin;
    require(from <= size && out.size() <= size - from, path_.string(), ": tensor '", tensor.name,
            "' has ", size, " bytes, ", out.size(), " from byte ", from, " were asked for");
    read_at(tensor.begin + from, out);
}

void SafetensorsFile::read_at(std::uint64_t offset, std::span<std::byte> out) const {
    while (!out.empty()) {
#ifdef _WIN32
        OVERLAPPED place{};  // reads there, whatever other threads read
        place.Offset = static_cast<DWORD>(offset);
        place.OffsetHigh = static_cast<DWORD>(offset >> 32);
        DWORD count = 0;
        const bool done = ReadFile(reinterpret_cast<HANDLE>(_get_osfhandle(handle_)), out.data(),
                                   static_cast<DWORD>(std::min<std::size_t>(out.size(), 1u << 30)),
                                   &count, &place) != 0;
        const bool known = done || GetLastError() == ERROR_HANDLE_EOF;
        const long long got = known ? static_cast<long long>(count) : -1;
        if (!known) errno = EIO;
#else
        const auto got = pread(handle_, out.data(), out.size(), static_cast<off_t>(offset));
        if (got < 0 && errno == EINTR) continue;
#endif
        require(got >= 0, "cannot read ", path_.string(), ": ", std::strerror(errno));
        require(got > 0, path_.string(), ": ends ", out.size(),
                " bytes too early; it was cut off while it was read");
        offset += static_cast<std::uint64_t>(got);
        out = out.subspan(static_cast<std::size_t>(got));
    }
}

void write_safetensors(const std::filesystem::path& file, std::vector<TensorToWrite> tensors,
                       const std::map<std::string, std::string>& metadata) {
    // Widest types first, as the reference library has it, so that every tensor is aligned.
    std::sort(tensors.begin(), tensors.end(), [](const TensorToWrite& a, const TensorToWrite& b) {
        return std::pair(dtype_size(b.dtype), a.name) < std::pair(dtype_size(a.dtype), b.name);
    });
    using nlohmann::json;
    json header = json::object();
    if (!metadata.empty()) header["__metadata__"] = metadata;
    std::uint64_t at = 0;
    for (const TensorToWrite& tensor : tensors) {
        TensorInfo info{tensor.name, tensor.dtype, tensor.shape};
        require(tensor_bytes(info) == tensor.bytes.size(), "write_safetensors: '", tensor.name,
                "' has ", tensor.bytes.size(), " bytes, its shape needs another number");
        require(tensor.name != "__metadata__" && !header.contains(tensor.name),
                "write_safetensors: the name '", tensor.name, "' is taken");
        header[tensor.name] = {{"dtype", dtype_name(tensor.dtype)},
                               {"shape", tensor.shape},
                               {"data_offsets", {at, at + tensor.bytes.size()}}};
        at += tensor.bytes.size();
    }
    std::string text = header.dump(-1, ' ', false, json::error_handler_t::replace);
    text.append((8 - text.size() % 8) % 8, ' ');
    std::string start(8, '\0');
    for (std::size_t i = 0; i < 8; ++i) {
        start[i] = static_cast<char>(static_cast<std::uint64_t>(text.size()) >> (8 * i) & 0xFF);
    }
    text = start + text;
    std::vector<std::span<const std::byte>> parts = {std::as_bytes(std::span(text))};
    for (const TensorToWrite& tensor : tensors) parts.push_back(tensor.bytes);
    write_file_atomic(file, parts);
}

}  // namespace zoodip
