// Makes a run fit into memory before it starts.
#pragma once

#include <cstdint>

#include <nlohmann/json.hpp>

#include "nn/family.h"
#include "nn/weight_source.h"
#include "settings/settings.h"

namespace zoodip {

// What a run may take.
struct MemoryThere {
    std::int64_t bytes = 0;    // 0: not known
    bool for_program = false;  // whether that is for the whole program, or beside what it has
};

// Method "auto" decided: exact where that fits, else rge, as where the memory is not
// known; other methods stay.
nlohmann::json with_method(nlohmann::json chosen, const WeightSource& source,
                           const Architecture& architecture, MemoryThere there);

// The settings with method and chunk decided: chunk 0 stays 0 where all points of a step fit, else
// becomes the largest chunk that does. Throws Error, by parts, when it would not fit even point by
// point.
TrainSettings fit_settings(const nlohmann::json& chosen, const WeightSource& source,
                           const Architecture& architecture, MemoryThere there);

}  // namespace zoodip
