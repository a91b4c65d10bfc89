// Files of a folder that a user named, under names that every user may be shown.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace zoodip {

// read_file, whose errors call the file `name`: a client of the server must not see its paths.
std::vector<std::byte> read_named_file(const std::filesystem::path& file, const std::string& name,
                                       std::uint64_t max_bytes);

}  // namespace zoodip
