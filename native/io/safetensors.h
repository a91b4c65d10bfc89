// The safetensors format (github.com/huggingface/safetensors): an 8-byte little-endian header
// length, a JSON header, then the tensors' bytes. Everything is checked before it is believed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "io/safetensors_header.h"

namespace zoodip {

// An open file. Reading is positional, so that several threads may read at once, and never through
// a memory map, which would crash the process if the file shrank.
class SafetensorsFile {
  public:
    // Throws Error for a file that is missing, truncated, damaged or of another kind (named).
    explicit SafetensorsFile(const std::filesystem::path& file);
    ~SafetensorsFile();
    SafetensorsFile(const SafetensorsFile&) = delete;
    SafetensorsFile& operator=(const SafetensorsFile&) = delete;

    const std::filesystem::path& path() const { return path_; }
    const std::vector<TensorInfo>& tensors() const { return header_.tensors; }  // sorted by name
    const TensorInfo* find(const std::string& name) const;                      // nullptr if none
    const std::map<std::string, std::string>& metadata() const { return header_.metadata; }

    // Fills `out`, whose size is end - begin. Throws Error when the file has shrunk.
    void read(const TensorInfo& tensor, std::span<std::byte> out) const;
    // Bytes [from, from + out.size()) of a tensor.
    void read(const TensorInfo& tensor, std::size_t from, std::span<std::byte> out) const;

  private:
    void read_at(std::uint64_t offset, std::span<std::byte> out) const;
    void read_header();

    std::filesystem::path path_;
    int handle_ = -1;
    std::uint64_t size_ = 0;
    SafetensorsHeader header_;
};

struct TensorToWrite {
    std::string name;
    Dtype dtype;
    std::vector<std::int64_t> shape;
    std::span<const std::byte> bytes;
};

// Writes atomically. Equal arguments give equal bytes.
void write_safetensors(const std::filesystem::path& file, std::vector<TensorToWrite> tensors,
                       const std::map<std::string, std::string>& metadata);

}  // namespace zoodip
