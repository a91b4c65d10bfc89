#include "pictures/metadata_rows.h"

#include <algorithm>
#include <sstream>
#include <utility>

#include "core/error.h"
#include "core/json.h"
#include "pictures/caption_text.h"
#include "pictures/folder_listing.h"
#include "pictures/named_file.h"

namespace zoodip {
namespace {

constexpr std::size_t max_bytes = 64u << 20;
constexpr const char* own_name = "metadata.jsonl";

std::string text_of(const nlohmann::json& object, std::initializer_list<const char*> names) {
    for (const char* name : names) {
        const auto found = object.find(name);
        if (found != object.end() && found->is_string()) return found->get<std::string>();
    }
    return {};
}

std::string with_slashes(std::string name) {
    std::replace(name.begin(), name.end(), '\\', '/');
    while (name.starts_with("./")) name.erase(0, 2);
    return name;
}

bool is_absolute(const std::string& name) {
    return name.starts_with("/") || (name.size() > 2 && name[1] == ':' && name[2] == '/');
}

std::string last_part(const std::string& name) {
    return name.substr(name.find_last_of('/') + 1);
}

}  // namespace

MetadataRows::MetadataRows(const std::filesystem::path& file, std::string place)
    : place_(std::move(place)) {
    const std::string name = place_ + own_name;
    std::istringstream lines(decode_text(read_named_file(file, name, max_bytes), name));
    std::string line;
    for (std::size_t number = 1; std::getline(lines, line); ++number) {
        if (line.find_first_not_of(" \t\r") != std::string::npos) add_line(line, number);
    }
}

void MetadataRows::add_line(const std::string& line, std::size_t number) {
    const nlohmann::json row = parse_json(line);
    if (row.is_discarded()) {
        no_json_.push_back(
            {concat(place_, own_name, ": line ", number),
             R"(not JSON such as {"file_name": "dog.jpg", "text": "a photo of a {}"})"});
        return;
    }
    const std::string name =
        with_slashes(text_of(row, {"file_name", "image_path", "image", "file"}));
    const std::string text = tidy_caption(text_of(row, {"text", "caption", "prompt"}));
    if (name.empty() || text.empty()) {
        ++without_text_;
        return;
    }
    auto& index = is_absolute(name) ? by_long_key_ : by_key_;
    index[match_key(is_absolute(name) ? last_part(name) : name)] = rows_.size();
    rows_.push_back({name, text});
}

MetadataRows::Row* MetadataRows::find(const std::string& name) {
    auto found = by_key_.find(match_key(name));
    if (found == by_key_.end()) {
        found = by_long_key_.find(match_key(last_part(name)));
        if (found == by_long_key_.end()) return nullptr;
    }
    Row& row = rows_[found->second];
    row.wanted = true;
    return &row;
}

std::vector<LeftOut> MetadataRows::unused() const {
    std::vector<LeftOut> out = no_json_;
    for (const Row& row : rows_) {
        if (!row.wanted) {
            out.push_back({concat(place_, own_name, ": ", shortened(row.name)), "no such picture"});
        }
    }
    if (without_text_ > 0) {
        out.push_back(
            {concat(place_, own_name, ": ", without_text_, " lines"), "without file_name or text"});
    }
    return out;
}

}  // namespace zoodip
