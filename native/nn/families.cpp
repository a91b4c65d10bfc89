#include "nn/families.h"

#include <algorithm>

#include "core/error.h"
#include "nn/foreign_weights.h"

namespace zoodip {

// Most telling first: the last one takes what is left.
const std::vector<const Family*>& all_families() {
    static const std::vector<const Family*> families = {
        &stable_diffusion_xl(), &stable_diffusion_2(), &stable_diffusion_1()};
    return families;
}

bool has_name_that_starts(const WeightSource& weights, const std::string& start) {
    return Survey(weights, "").any(start);
}

const Family& family_of(const WeightSource& weights) {
    const auto& all = all_families();
    const auto found = std::find_if(
        all.begin(), all.end(), [&](const Family* family) { return family->recognises(weights); });
    return found == all.end() ? *all.back() : **found;
}

const Family& family_with_preset(const std::string& preset) {
    for (const Family* family : all_families()) {
        if (preset == family->preset) return *family;
    }
    fail("preset: there is no '", preset, "'");
}

std::int64_t context_width(const WeightSource& weights) {
    for (const WeightInfo& info : weights.list()) {
        if (info.name.starts_with("model.diffusion_model.") &&
            info.name.ends_with(".attn2.to_k.weight") && info.shape.size() == 2) {
            return info.shape[1];
        }
    }
    fail(weights.description(), ": its UNet attends to no text.", family_remedy);
}

}  // namespace zoodip
