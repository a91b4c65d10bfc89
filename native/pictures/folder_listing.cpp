#include "pictures/folder_listing.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <system_error>
#include <utility>

#include "core/ascii.h"
#include "core/error.h"
#include "io/picture_names.h"
#include "nn/text_normalize.h"
#include "pictures/caption_text.h"

namespace zoodip {
namespace {

namespace fs = std::filesystem;

using Kind = std::pair<std::string_view, std::string_view>;  // ending -> what it is

constexpr std::array<Kind, 28> other_pictures = {{
    {".heic", "a HEIC picture"},  {".heif", "a HEIF picture"}, {".avif", "an AVIF picture"},
    {".bmp", "a BMP picture"},    {".gif", "a GIF"},           {".tif", "a TIFF picture"},
    {".tiff", "a TIFF picture"},  {".jxl", "a JPEG XL"},       {".jp2", "a JPEG 2000"},
    {".tga", "a Targa picture"},  {".ico", "an icon"},         {".svg", "an SVG drawing"},
    {".psd", "a Photoshop file"}, {".xcf", "a GIMP file"},     {".kra", "a Krita file"},
    {".dng", "a raw picture"},    {".raw", "a raw picture"},   {".cr2", "a raw picture"},
    {".cr3", "a raw picture"},    {".nef", "a raw picture"},   {".arw", "a raw picture"},
    {".orf", "a raw picture"},    {".rw2", "a raw picture"},   {".raf", "a raw picture"},
    {".ppm", "a PPM picture"},    {".exr", "an EXR picture"},  {".hdr", "an HDR picture"},
    {".apng", "an animation"},
}};
constexpr std::array<std::string_view, 7> films = {".mp4", ".mov", ".webm", ".avi",
                                                   ".mkv", ".m4v", ".3gp"};
constexpr std::array<std::string_view, 2> text_endings = {".txt", ".caption"};
constexpr std::string_view metadata_key = "metadata.jsonl";
constexpr std::size_t max_repeats_digits = 3;
constexpr std::array<std::string_view, 2> of_file_managers = {"thumbs.db", "desktop.ini"};

bool is_table(const std::string& lower_name) {
    return lower_name == "metadata.csv" || lower_name == "metadata.json" ||
           lower_name == "metadata.parquet" || lower_name == "meta_cap.json" ||
           lower_name == "meta_lat.json";
}

template <std::size_t count>
bool is_one_of(const std::array<std::string_view, count>& these, std::string_view text) {
    return std::find(these.begin(), these.end(), text) != these.end();
}

std::string ending_of(const fs::path& file) {
    return lower_ascii(file.extension().string());
}

// Why a file is left out that is neither a picture nor a text.
LeftOut describe_other(const std::string& name) {
    const std::string lower_name = lower_ascii(name);
    const std::string ending = ending_of(name);
    for (const auto& [other, what] : other_pictures) {
        if (ending == other) {
            return {name, concat(what, ", which is not read: save it as JPEG or PNG")};
        }
    }
    if (is_one_of(films, ending)) return {name, "a film"};
    if (is_table(lower_name)) return {name, "of such tables metadata.jsonl is read"};
    return {name, "", /*expected=*/false};
}

// Of file managers, of nobody, or the lock of an output that is written just now.
bool is_hidden(const std::string& name) {
    const std::string lower_name = lower_ascii(name);
    return name.empty() || name.front() == '.' || lower_name.ends_with(".safetensors.lock") ||
           is_one_of(of_file_managers, lower_name);
}

void add_file(const fs::directory_entry& entry, FolderEntry item, FolderListing& listing) {
    std::error_code error;
    if (entry.is_directory(error)) {
        listing.folders.push_back(std::move(item));
    } else if (!entry.is_regular_file(error)) {
        listing.left_out.push_back({item.name, "not a file, or a link to nothing"});
    } else if (is_picture_name(item.name)) {
        listing.pictures.push_back(std::move(item));
    } else if (item.key == metadata_key && listing.metadata.empty()) {
        listing.metadata.push_back(std::move(item));
    } else if (is_one_of(text_endings, ending_of(item.name))) {
        listing.texts.push_back(std::move(item));
    } else {
        listing.left_out.push_back(describe_other(item.name));
    }
}

void sort_by_name(std::vector<FolderEntry>& entries) {
    std::sort(entries.begin(), entries.end(),
              [](const FolderEntry& a, const FolderEntry& b) { return a.name < b.name; });
}

}  // namespace

std::optional<NamedFolder> read_folder_name(const std::string& name) {
    const std::size_t digits = std::min(name.find_first_not_of("0123456789"), name.size());
    if (digits == 0 || digits > max_repeats_digits || digits == name.size()) return std::nullopt;
    if (name[digits] != '_') return std::nullopt;
    return NamedFolder{std::stoll(name.substr(0, digits)), tidy_caption(name.substr(digits + 1))};
}

bool is_training_file(const fs::path& file) {
    const std::string ending = ending_of(file);
    const auto other = std::find_if(other_pictures.begin(), other_pictures.end(),
                                    [&](const Kind& kind) { return kind.first == ending; });
    return is_picture_name(file) || is_one_of(text_endings, ending) ||
           other != other_pictures.end() || lower_ascii(file.filename().string()) == metadata_key;
}

std::string match_key(const std::string& name) {
    std::string key;
    for (const std::int32_t point : lowercase(normalize_nfc(decode_utf8(lossy_utf8(name))))) {
        append_utf8(point, key);
    }
    return key;
}

std::string utf8_name(const fs::path& file) {
    const std::u8string name = file.filename().u8string();
    return lossy_utf8({reinterpret_cast<const char*>(name.data()), name.size()});
}

FolderListing list_folder(const fs::path& folder) {
    FolderListing listing;
    std::error_code error;
    fs::directory_iterator entry(folder, error);
    for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
        const std::string name = utf8_name(entry->path());
        if (!is_hidden(name)) add_file(*entry, {entry->path(), name, match_key(name)}, listing);
    }
    require(!error, "images: cannot list ", folder.string(), ": ", error.message());
    for (auto* entries : {&listing.pictures, &listing.texts, &listing.folders}) {
        sort_by_name(*entries);
    }
    return listing;
}

}  // namespace zoodip
