// How much memory a run will take, told before it starts.
#pragma once

#include <cstdint>

#include <nlohmann/json.hpp>

#include "nn/inventory.h"
#include "nn/weight_source.h"
#include "settings/settings.h"

namespace zoodip {

// Bytes. The parts are not all there at once: the image encoder is gone before the UNet comes.
struct MemoryEstimate {
    std::int64_t program = 0;   // libraries and what they set up
    std::int64_t encoding = 0;  // image encoder with its activations
    std::int64_t text_encoder = 0;
    std::int64_t unet = 0;
    std::int64_t layer = 0;        // the one weight that is unpacked at a time
    std::int64_t activations = 0;  // of n + 1 rows for each run
    std::int64_t peak() const;     // the larger of the two phases
};

// {"program": bytes, ..., "peak": bytes}
nlohmann::json to_json(const MemoryEstimate& estimate);

// Whether quantised weights are multiplied by the engine's own products, as on a CPU, and not by
// torch's operators: these unpack a layer at a time, and round a row's result by how many there
// are.
bool has_own_products(const TrainSettings& settings);

// runs: that share passes (train/joint_runs.h).
MemoryEstimate estimate_memory(const WeightSource& source, const Inventory& inventory,
                               const TrainSettings& settings, std::int64_t runs = 1);

}  // namespace zoodip
