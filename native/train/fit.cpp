#include "train/fit.h"

#include <cmath>
#include <string>

#include "core/error.h"
#include "core/log.h"
#include "nn/inventory.h"
#include "train/memory_estimate.h"

namespace zoodip {
namespace {

struct Memory {
    const WeightSource& source;
    const Inventory inventory;
    const MemoryThere there;

    // Of the memory that is there: what the process has already is not taken once more, but counts
    // where the user says what it may have in all.
    std::int64_t needed(const TrainSettings& settings) const {
        const MemoryEstimate estimate = estimate_memory(source, inventory, settings);
        return there.for_program ? estimate.peak() : estimate.peak() - estimate.program;
    }
    bool fits(const TrainSettings& settings) const {
        return there.bytes == 0 || needed(settings) <= there.bytes;
    }
};

double megabytes(std::int64_t bytes) {
    return std::round(static_cast<double>(bytes) / 1e6);
}

[[noreturn]] void refuse(const Memory& memory, const TrainSettings& settings) {
    const MemoryEstimate e = estimate_memory(memory.source, memory.inventory, settings);
    fail("memory: this run needs about ", megabytes(memory.needed(settings)), " MB (",
         memory.there.for_program ? concat("program ", megabytes(e.program), ", ") : std::string(),
         "UNet ", megabytes(e.unet), ", text encoder ", megabytes(e.text_encoder),
         ", one unpacked layer ", megabytes(e.layer), ", activations ", megabytes(e.activations),
         "; before that, image encoder ", megabytes(e.encoding), "), ",
         megabytes(memory.there.bytes),
         memory.there.for_program ? " MB are allowed" : " MB are free",
         ". A smaller `resolution`, `weights int4`",
         settings.method == "exact" ? ", `method rge`" : "",
         " or `compute bf16` needs less; `memory_limit` sets another limit");
}

}  // namespace

nlohmann::json with_method(nlohmann::json chosen, const WeightSource& source,
                           const Architecture& architecture, MemoryThere there) {
    if (chosen.value("method", nlohmann::json()) != "auto") return chosen;
    const Memory memory{source, take_inventory(source), there};
    const bool integers = chosen.value("compute", nlohmann::json()) == "int8";
    chosen["method"] = integers ? "rge" : "exact";
    if (there.bytes == 0 || !memory.fits(resolve_settings(chosen, architecture)))
        chosen["method"] = "rge";
    log_info("method auto takes ", chosen["method"].get<std::string>());
    return chosen;
}

TrainSettings fit_settings(const nlohmann::json& chosen, const WeightSource& source,
                           const Architecture& architecture, MemoryThere there) {
    const Memory memory{source, take_inventory(source), there};
    TrainSettings settings =
        resolve_settings(with_method(chosen, source, architecture, there), architecture);
    if (memory.fits(settings)) return settings;
    if (settings.chunk > 0) refuse(memory, settings);
    for (settings.chunk = points_of(settings) - 1; settings.chunk > 0; --settings.chunk) {
        if (!memory.fits(settings)) continue;
        log_info("memory is short: ", settings.chunk, " of the ", points_of(settings),
                 " points of a step pass at once");
        return settings;
    }
    settings.chunk = 1;
    refuse(memory, settings);
}

}  // namespace zoodip
