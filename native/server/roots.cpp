#include "server/roots.h"

#include <algorithm>
#include <optional>
#include <set>
#include <string_view>
#include <system_error>

#include "server/http_error.h"

namespace zoodip {
namespace {

namespace fs = std::filesystem;

constexpr int max_depth = 4;
constexpr std::size_t max_entries = 10'000;  // looked at for a list

std::vector<fs::path> canonical_folders(const std::vector<fs::path>& roots, const char* what) {
    std::vector<fs::path> out;
    for (const fs::path& root : roots) {
        std::error_code error;
        const fs::path folder = fs::canonical(root, error);
        require(!error && fs::is_directory(folder, error), what, ": ", root.string(),
                " is no folder");
        out.push_back(folder);
    }
    return out;
}

bool is_plain_segment(std::string_view segment) {
    const auto is_odd = [](char c) {
        return static_cast<unsigned char>(c) < ' ' || c == 0x7F || c == '\\' || c == ':';
    };
    return !segment.empty() && segment.front() != '.' &&
           std::none_of(segment.begin(), segment.end(), is_odd);
}

bool is_name(std::string_view name) {
    if (name.size() > 1024) return false;
    for (;;) {
        const std::size_t slash = name.find('/');
        if (!is_plain_segment(name.substr(0, slash))) return false;
        if (slash == std::string_view::npos) return true;
        name.remove_prefix(slash + 1);
    }
}

bool is_inside(const fs::path& path, const fs::path& root) {
    const auto [in_root, in_path] =
        std::mismatch(root.begin(), root.end(), path.begin(), path.end());
    return in_root == root.end();
}

bool is_diffusers_folder(const fs::path& path) {
    std::error_code ignored;
    return fs::is_regular_file(path / "model_index.json", ignored);
}

// The file of a name, when it is there and inside its root once links are followed.
std::optional<fs::path> look_up(const fs::path& root, const std::string& name) {
    std::error_code missing;
    const fs::path found = fs::canonical(root / name, missing);
    if (missing || !is_inside(found, root)) return std::nullopt;
    return found;
}

fs::path find(const std::vector<fs::path>& roots, const std::string& name, const char* what,
              bool folders_only) {
    if (!is_name(name)) {
        throw HttpError(422, concat(what,
                                    ": needs a name below the server's folders, with / between "
                                    "its parts and no part that begins with a dot"));
    }
    for (const fs::path& root : roots) {
        const auto found = look_up(root, name);
        std::error_code ignored;
        if (found && (!folders_only || fs::is_directory(*found, ignored))) return *found;
    }
    throw HttpError(404, concat(what, ": there is no '", name, "' in the server's folders"));
}

void list_models(const fs::path& root, std::set<std::string>& names) {
    std::error_code error;
    std::size_t seen = 0;
    fs::recursive_directory_iterator entry(root, fs::directory_options::skip_permission_denied,
                                           error);
    for (; !error && entry != fs::recursive_directory_iterator() && ++seen < max_entries;
         entry.increment(error)) {
        const std::string name = entry->path().lexically_relative(root).generic_string();
        std::error_code ignored;
        const bool folder = entry->is_directory(ignored);
        const bool model = folder ? is_diffusers_folder(entry->path())
                                  : entry->path().extension() == ".safetensors";
        if (folder && (model || entry.depth() + 1 >= max_depth)) entry.disable_recursion_pending();
        if (model && is_name(name) && look_up(root, name)) names.insert(name);
    }
}

}  // namespace

Roots::Roots(const std::vector<fs::path>& models, const std::vector<fs::path>& images)
    : models_(canonical_folders(models, "models")), images_(canonical_folders(images, "images")) {}

std::vector<std::string> Roots::models() const {
    std::set<std::string> names;
    for (const fs::path& root : models_) list_models(root, names);
    return {names.begin(), names.end()};
}

fs::path Roots::model(const std::string& name) const {
    return find(models_, name, "model", /*folders_only=*/false);
}

fs::path Roots::images(const std::string& name) const {
    return find(images_, name, "images", /*folders_only=*/true);
}

PlaceNames Roots::places() const {
    PlaceNames places;
    for (const auto* roots : {&models_, &images_}) {
        for (const fs::path& root : *roots) places.emplace_back(root, "");
    }
    return places;
}

}  // namespace zoodip
