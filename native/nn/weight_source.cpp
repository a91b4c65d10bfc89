#include "nn/weight_source.h"

#include <algorithm>

#include "core/error.h"
#include "nn/diffusers_folder.h"
#include "nn/safetensors_source.h"

namespace zoodip {

const WeightInfo* WeightSource::find(const std::string& name) const {
    const auto& all = list();
    const auto found = std::lower_bound(
        all.begin(), all.end(), name,
        [](const WeightInfo& info, const std::string& key) { return info.name < key; });
    return found != all.end() && found->name == name ? &*found : nullptr;
}

std::unique_ptr<WeightSource> open_weights(const std::filesystem::path& path) {
    std::error_code ignored;
    require(std::filesystem::exists(path, ignored), "model: there is no ", path.string());
    if (std::filesystem::is_directory(path, ignored)) return open_diffusers_folder(path);
    return open_checkpoint(path);
}

}  // namespace zoodip
