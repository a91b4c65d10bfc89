// A file that lies in memory, for readers that take a path (Linux).
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <sys/mman.h>
#include <unistd.h>

#include "core/error.h"

namespace zoodip::fuzz {

class MemoryFile {
  public:
    MemoryFile() : handle_(memfd_create("zoodip_fuzz", MFD_CLOEXEC)) {
        require(handle_ >= 0, "cannot make a file in memory");
        path_ = "/proc/self/fd/" + std::to_string(handle_);
    }
    ~MemoryFile() { close(handle_); }
    MemoryFile(const MemoryFile&) = delete;
    MemoryFile& operator=(const MemoryFile&) = delete;

    const std::filesystem::path& path() const { return path_; }

    // Replaces what the file holds.
    void fill(std::span<const std::byte> bytes) {
        const bool ok =
            ftruncate(handle_, 0) == 0 &&
            pwrite(handle_, bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size());
        require(ok, "cannot fill a file in memory");
    }

  private:
    int handle_;
    std::filesystem::path path_;
};

}  // namespace zoodip::fuzz
