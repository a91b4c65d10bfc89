#include "io/atomic_file.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>

#include "core/error.h"

#ifdef _WIN32
#include <io.h>
#include <process.h>
#else
#include <fcntl.h>
#include <unistd.h>
#endif

namespace zoodip {
namespace {

namespace fs = std::filesystem;

bool is_full(int reason) {
#ifdef EDQUOT
    if (reason == EDQUOT) return true;
#endif
    return reason == ENOSPC;
}

[[noreturn]] void fail_to_write(const fs::path& file, int reason) {
    fail("cannot write ", file.string(), ": ", std::strerror(reason),
         is_full(reason) ? ". Free some space" : "");
}

// A name beside `file` that no other thread or process of ours uses, by a number of its own.
fs::path temporary_beside(const fs::path& file, unsigned number) {
#ifdef _WIN32
    const int process = _getpid();
#else
    const int process = getpid();
#endif
    fs::path temporary = file;
    temporary += concat(".", process, "-", number, ".tmp");
    return temporary;
}

void flush_to_disk(std::FILE* stream) {
#ifdef _WIN32
    const bool ok = std::fflush(stream) == 0 && _commit(_fileno(stream)) == 0;
#else
    const bool ok = std::fflush(stream) == 0 && fsync(fileno(stream)) == 0;
#endif
    if (!ok) throw errno;
}

// Throws errno.
void write_parts(const fs::path& file, std::span<const std::span<const std::byte>> parts) {
    std::FILE* stream = std::fopen(file.string().c_str(), "wb");
    if (stream == nullptr) throw errno;
    try {
        for (const auto& part : parts) {
            if (part.empty()) continue;  // an empty tensor has no address
            if (std::fwrite(part.data(), 1, part.size(), stream) != part.size()) throw errno;
        }
        flush_to_disk(stream);
    } catch (int) {
        std::fclose(stream);
        throw;
    }
    if (std::fclose(stream) != 0) throw errno;
}

fs::path folder_of(const fs::path& file) {
    const fs::path folder = file.parent_path();
    return folder.empty() ? fs::path(".") : folder;
}

void require_folder(const fs::path& file) {
    const fs::path folder = folder_of(file);
    std::error_code ignored;
    require(fs::exists(folder, ignored), "cannot write ", file.string(), ": the folder ",
            folder.string(), " does not exist. Create it, or name another");
    require(fs::is_directory(folder, ignored), "cannot write ", file.string(), ": ",
            folder.string(), " is not a folder");
    require(!fs::is_directory(file, ignored), "cannot write ", file.string(), ": it is a folder");
}

// Throws errno.
void write_and_cut(const fs::path& file, std::uint64_t place, std::span<const std::byte> bytes) {
    std::error_code error;
    std::FILE* stream = std::fopen(file.string().c_str(), fs::exists(file, error) ? "r+b" : "wb");
    if (stream == nullptr) throw errno;
    try {
        if (std::fseek(stream, static_cast<long>(place), SEEK_SET) != 0) throw errno;
        if (std::fwrite(bytes.data(), 1, bytes.size(), stream) != bytes.size()) throw errno;
        flush_to_disk(stream);
    } catch (int) {
        std::fclose(stream);
        throw;
    }
    if (std::fclose(stream) != 0) throw errno;
    const std::uint64_t end = place + bytes.size();
    if (fs::file_size(file) > end) fs::resize_file(file, end);
}

}  // namespace

void flush_folder(const fs::path& folder) {
#ifndef _WIN32
    const int handle = open(folder.c_str(), O_RDONLY | O_DIRECTORY);
    if (handle < 0) return;
    fsync(handle);
    close(handle);
#else
    (void)folder;
#endif
}

void write_at(const fs::path& file, std::uint64_t place, std::span<const std::byte> bytes) {
    try {
        write_and_cut(file, place, bytes);
    } catch (int reason) {
        fail_to_write(file, reason);
    } catch (const fs::filesystem_error& error) {
        fail_to_write(file, error.code().value());
    }
}

void write_file_atomic(const fs::path& file, std::span<const std::span<const std::byte>> parts) {
    require_folder(file);
    static std::atomic<unsigned> count{0};
    const fs::path temporary = temporary_beside(file, count++);
    std::error_code error;
    try {
        write_parts(temporary, parts);
        fs::rename(temporary, file, error);
        if (error) throw error.value();
    } catch (int reason) {
        fs::remove(temporary, error);
        fail_to_write(file, reason);
    }
    flush_folder(folder_of(file));
}

std::vector<std::byte> read_file(const fs::path& file, std::uint64_t max_bytes) {
    std::error_code error;
    require(!fs::is_directory(file, error), file.string(), ": is a folder, expected a file");
    // Opening a pipe would wait for its other end; a device has no size.
    require(!fs::is_other(file, error), file.string(), ": is a device or a pipe, expected a file");
    std::ifstream stream(file, std::ios::binary | std::ios::ate);
    require(stream.good(), "cannot read ", file.string(), ": ", std::strerror(errno));
    const auto size = static_cast<std::uint64_t>(stream.tellg());
    require(size <= max_bytes, file.string(), ": has ", size, " bytes, at most ", max_bytes,
            " are read");
    std::vector<std::byte> bytes(size);
    stream.seekg(0);
    stream.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(size));
    require(static_cast<std::uint64_t>(stream.gcount()) == size, "cannot read ", file.string(),
            ": it shrank while it was read");
    return bytes;
}

void probe_writable(const fs::path& file, std::uint64_t bytes) {
    require_folder(file);
    static constexpr std::array<std::byte, 65536> zeros{};
    std::vector<std::span<const std::byte>> parts;
    for (std::uint64_t left = bytes; left > 0; left -= parts.back().size()) {
        parts.emplace_back(zeros.data(), std::min<std::uint64_t>(left, zeros.size()));
    }
    // As long a name as any that a process comes to within a hundred million files.
    static std::atomic<unsigned> count{10'000'000};
    const fs::path temporary = temporary_beside(file, count++);
    std::error_code ignored;
    try {
        write_parts(temporary, parts);
    } catch (int reason) {
        fs::remove(temporary, ignored);
        fail_to_write(file, reason);
    }
    fs::remove(temporary, ignored);
}

}  // namespace zoodip
