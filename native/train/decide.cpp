#include "train/decide.h"

#include <cmath>
#include <string>

#include "core/error.h"
#include "core/log.h"
#include "nn/family.h"
#include "nn/inventory.h"
#include "objective/engine.h"
#include "train/compute_choice.h"
#include "train/memory_estimate.h"

namespace zoodip {
namespace {

// What a run may take.
struct MemoryThere {
    std::int64_t bytes = 0;    // 0: not known
    bool for_program = false;  // whether that is for the whole program, or beside what it has
};

MemoryThere memory_for(const TrainSettings& settings, int processes) {
    const at::Device device = open_device(settings.device);
    // Each process on a graphics card has one of its own.
    if (settings.memory_limit == 0) {
        return {free_memory(device) / (device.is_cpu() ? processes : 1)};
    }
    return {settings.memory_limit * 1'000'000, device.is_cpu()};
}

struct Memory {
    const WeightSource& source;
    const Inventory inventory;
    const MemoryThere there;

    // Of the memory that is there: what the process has already is not taken once more, but counts
    // where the user says what it may have in all.
    std::int64_t needed(const TrainSettings& settings, std::int64_t runs = 1) const {
        const MemoryEstimate estimate = estimate_memory(source, inventory, settings, runs);
        return there.for_program ? estimate.peak() : estimate.peak() - estimate.program;
    }
    bool fits(const TrainSettings& settings, std::int64_t runs = 1) const {
        return there.bytes == 0 || needed(settings, runs) <= there.bytes;
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
         settings.method == exact_gradient ? ", `method rge`" : "",
         " or `compute bf16` needs less; `memory_limit` sets another limit");
}

Method choose_method(AskedSettings asked, const Architecture& architecture, const Memory& memory) {
    asked.values.method = exact_gradient;
    const bool integers = asked.values.compute == ComputeType::int8;  // which have no gradient
    const bool fits =
        !integers && memory.there.bytes != 0 && memory.fits(fill_in(asked, architecture));
    const Method method = fits ? exact_gradient : usual_estimate();
    log_info("method auto takes ", name_of(method_names(), method));
    return method;
}

std::int64_t choose_chunk(TrainSettings settings, const Memory& memory) {
    if (memory.fits(settings)) return settings.chunk;
    if (settings.chunk > 0) refuse(memory, settings);
    for (settings.chunk = points_of(settings) - 1; settings.chunk > 0; --settings.chunk) {
        if (!memory.fits(settings)) continue;
        log_info("memory is short: ", settings.chunk, " of the ", points_of(settings),
                 " points of a step pass at once");
        return settings.chunk;
    }
    settings.chunk = 1;
    refuse(memory, settings);
}

}  // namespace

DecidedSettings decide(AskedSettings asked, const WeightSource& source, bool fit, int processes) {
    const Architecture architecture = detect_architecture(source);
    const TrainSettings open = fill_in(asked, architecture);
    const Memory memory{source, take_inventory(source), memory_for(open, processes)};
    if (!asked.values.method) asked.values.method = choose_method(asked, architecture, memory);
    DecidedSettings decided;
    if (!asked.values.compute) {
        const ComputeChoice found = choose_compute(fill_in(asked, architecture), source);
        asked.values.compute = found.compute;
        decided.compute_choice = found.reason;
    }
    decided.settings = fill_in(asked, architecture);
    if (fit) decided.settings.chunk = choose_chunk(decided.settings, memory);
    return decided;
}

bool fits(const TrainSettings& settings, const WeightSource& source) {
    const Memory memory{source, take_inventory(source), memory_for(settings, 1)};
    return memory.there.bytes != 0 && memory.fits(settings);
}

std::int64_t runs_together(const TrainSettings& settings, const WeightSource& source,
                           std::int64_t runs) {
    const bool alike = has_own_products(settings) && settings.compute != ComputeType::int8;
    if (!alike || settings.chunk > 0) return 1;
    const Memory memory{source, take_inventory(source), memory_for(settings, 1)};
    while (runs > 1 && !memory.fits(settings, runs)) --runs;
    return runs;
}

DecidedSettings settings_for(const nlohmann::json& chosen, const WeightSource& source, bool fit) {
    return decide(read_settings(chosen), source, fit);
}

}  // namespace zoodip
