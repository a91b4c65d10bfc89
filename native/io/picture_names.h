// Which files are pictures, by their names: the one list that folders, nodes and messages go by.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace zoodip {

// The endings of pictures that are read, in lower case and with the dot: ".jpg". What a file really
// holds, its first bytes tell.
const std::vector<std::string>& picture_endings();

// Whether a file is called as a picture, in any case of letters.
bool is_picture_name(const std::filesystem::path& file);

}  // namespace zoodip
