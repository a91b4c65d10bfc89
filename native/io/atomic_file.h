// Whole files: read at once, or written so that either the old or the new one is there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

namespace zoodip {

// Writes the parts one after another to a temporary file in the same folder, flushes it to the disk
// and renames it over `file`. On any failure (no folder, full disk, no permission) the temporary
// file is removed, an earlier `file` is untouched, and Error names the file and the system's
// reason.
void write_file_atomic(const std::filesystem::path& file,
                       std::span<const std::span<const std::byte>> parts);

// Writes at a place of a file, which is made if it is missing and ends behind what was written;
// flushed to the disk. Throws Error; what lay before that place is then as it was.
void write_at(const std::filesystem::path& file, std::uint64_t place,
              std::span<const std::byte> bytes);

// Makes what was renamed in a folder survive a power cut. Some file systems refuse; what was
// renamed is there anyway.
void flush_folder(const std::filesystem::path& folder);

// All bytes of a file. Throws Error when it cannot be read or holds more than max_bytes.
std::vector<std::byte> read_file(const std::filesystem::path& file, std::uint64_t max_bytes);

// Throws Error unless `file` could be written atomically, now and however often it has been: its
// folder exists and takes the name with that of the temporary file, and so many bytes can be
// written and flushed there. Called before a long job rather than after it.
void probe_writable(const std::filesystem::path& file, std::uint64_t bytes = 1 << 16);

}  // namespace zoodip
