// Makes a run fit into memory before it starts.
#pragma once

#include <cstdint>

#include <nlohmann/json.hpp>

#include "nn/family.h"
#include "nn/weight_source.h"
#include "train/settings.h"

namespace zoodip {

// Method "auto" decided: exact where that fits into `free` bytes, else rge; other methods stay.
// free 0: not known, auto becomes rge.
nlohmann::json with_method(nlohmann::json chosen, const WeightSource& source,
                           const Architecture& architecture, std::int64_t free);

// The settings with method and chunk decided: chunk 0 stays 0 where all points of a step fit, else
// becomes the largest chunk that does. free 0: not known, all points pass at once. Throws Error, by
// parts, when it would not fit even point by point.
TrainSettings fit_settings(const nlohmann::json& chosen, const WeightSource& source,
                           const Architecture& architecture, std::int64_t free);

}  // namespace zoodip
