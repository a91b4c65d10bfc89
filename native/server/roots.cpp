#include "server/roots.h"

#include <algorithm>
#include <optional>
#include <set>
#include <string_view>
#include <system_error>

#include "io/safetensors.h"
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

bool is_diffusers_folder(const fs::path& path) {
    std::error_code ignored;
    return fs::is_regular_file(path / "model_index.json", ignored);
}

// The file or folder of a name. A name has no way out of its root; a link that lies in the root is
// the wish of who put it there, and is followed wherever it leads.
std::optional<fs::path> look_up(const fs::path& root, const std::string& name) {
    std::error_code missing;
    const fs::path found = fs::canonical(root / name, missing);
    if (missing) return std::nullopt;
    std::error_code ignored;
    const bool usable = fs::is_regular_file(found, ignored) || fs::is_directory(found, ignored);
    return usable ? std::optional(found) : std::nullopt;
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

// By the names of its tensors alone, which come first in a file. What else lies among models, a
// LoRA, a VAE or a classifier, has none of a UNet.
bool is_checkpoint(const fs::path& file) {
    if (file.extension() != ".safetensors") return false;
    try {
        const SafetensorsFile opened(file);
        const auto& tensors = opened.tensors();
        return std::any_of(tensors.begin(), tensors.end(), [](const TensorInfo& tensor) {
            return tensor.name.starts_with("model.diffusion_model.");
        });
    } catch (const Error&) {
        return false;
    }
}

class ModelList {
  public:
    explicit ModelList(const fs::path& root) : root_(root) { visit("", root, 1); }
    std::set<std::string> names;

  private:
    // folder: canonical.
    void visit(const std::string& prefix, const fs::path& folder, int depth) {
        // A link to a folder above would be followed round and round.
        if (std::find(above_.begin(), above_.end(), folder) != above_.end()) return;
        above_.push_back(folder);
        std::error_code error;
        fs::directory_iterator entry(folder, fs::directory_options::skip_permission_denied, error);
        for (; !error && entry != fs::directory_iterator() && ++seen_ < max_entries;
             entry.increment(error)) {
            look_at(prefix + entry->path().filename().generic_string(), depth);
        }
        above_.pop_back();
    }
    void look_at(const std::string& name, int depth) {
        const auto found = is_name(name) ? look_up(root_, name) : std::nullopt;
        if (!found) return;
        std::error_code ignored;
        if (!fs::is_directory(*found, ignored)) {
            if (is_checkpoint(*found)) names.insert(name);
        } else if (is_diffusers_folder(*found)) {
            names.insert(name);
        } else if (depth < max_depth) {
            visit(name + "/", *found, depth + 1);
        }
    }

    const fs::path& root_;
    std::vector<fs::path> above_;
    std::size_t seen_ = 0;
};

}  // namespace

Roots::Roots(const std::vector<fs::path>& models, const std::vector<fs::path>& images)
    : models_(canonical_folders(models, "models")), images_(canonical_folders(images, "images")) {}

std::vector<std::string> Roots::models() const {
    std::set<std::string> names;
    for (const fs::path& root : models_) names.merge(ModelList(root).names);
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
