// What lies in a folder of pictures, sorted by what it is taken for. Names alone; nothing is
// opened.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "pictures/left_out.h"

namespace zoodip {

struct FolderEntry {
    std::filesystem::path path;
    std::string name;  // of the file, in UTF-8
    std::string key;   // the name for comparison: see match_key
};

struct FolderListing {
    std::vector<FolderEntry> pictures, texts, folders;  // by name
    std::vector<FolderEntry> metadata;                  // metadata.jsonl: one, or none
    std::vector<LeftOut> left_out;                      // files of other kinds
};

// Hidden files and what file managers leave behind are passed over. Throws Error that names
// `folder` when it cannot be listed.
FolderListing list_folder(const std::filesystem::path& folder);

// What the name of a folder inside it says: "10_sks dog" -> 10, "sks dog".
struct NamedFolder {
    std::int64_t repeats = 1;
    std::string caption;
};

// Nothing for a name that is none; a number of more than three digits is rather a date.
std::optional<NamedFolder> read_folder_name(const std::string& name);

// Whether a file of this name would be read with the pictures, or is a picture that other trainers
// read.
bool is_training_file(const std::filesystem::path& file);

// Equal for names that differ in the case of letters or the Unicode form of accents alone.
std::string match_key(const std::string& name);

// A file's own name in UTF-8, U+FFFD for what is none.
std::string utf8_name(const std::filesystem::path& file);

}  // namespace zoodip
