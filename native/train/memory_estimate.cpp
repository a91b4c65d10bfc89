#include "train/memory_estimate.h"

#include <algorithm>

#include "ops/types.h"

namespace zoodip {
namespace {

// A program linked to libtorch_cpu, with the code of the first primitives, measured.
constexpr std::int64_t program_bytes = 150 << 20;

std::int64_t first_channels(const WeightSource& source, const char* name) {
    const WeightInfo* info = source.find(name);
    return info == nullptr || info->shape.empty() ? 0 : info->shape[0];
}

// Weights of a part: quantised ones as integers, the token table as stored, the rest in float32.
std::int64_t weight_bytes(const PartInventory& part, WeightType type, std::int64_t dense_size) {
    const auto packed = part.packed.find(type);
    const std::int64_t layers =
        packed == part.packed.end() ? part.quantised * dense_size : packed->second;
    const std::int64_t table = part.table * 2;
    return layers + table + (part.parameters - part.quantised - part.table) * 4;
}

// Copies of the first level's activations (C channels at every pixel of the latents) that are alive
// at the widest moment.
// A forward pass, for each row: the feed-forward of the first transformer, that is input, residual
// and norm (3 C), its product (8 C), gelu of one half and their product (4 C + 4 C); the skips that
// wait for the way up add about 8 C.
constexpr std::int64_t forward_copies = 3 + 8 + 8 + 8;
// A gradient: the inputs of all steps that are computed again, and one transformer with its graph
// and the gradients within. Measured: 72 for SD1.5, 112 for the demo model.
constexpr std::int64_t gradient_copies = 80;

std::int64_t unet_activations(const WeightSource& source, const TrainSettings& settings,
                              std::int64_t number_size) {
    const std::int64_t side = settings.resolution / 8;
    const std::int64_t channels =
        first_channels(source, "model.diffusion_model.input_blocks.0.0.weight");
    const std::int64_t points = points_of(settings);
    const std::int64_t rows = settings.chunk == 0 ? points : std::min(points, settings.chunk);
    const std::int64_t copies =
        settings.method == "exact" ? gradient_copies : rows * forward_copies;
    return copies * side * side * channels * number_size;
}

// At full resolution a residual block holds its input, the normed copy, the product and a
// convolution's own workspace: five copies with a KL encoder, six with a TAESD, measured.
std::int64_t encoder_activations(const WeightSource& source, const TrainSettings& settings) {
    const std::int64_t wide = first_channels(source, "first_stage_model.encoder.conv_in.weight");
    const std::int64_t tiny = first_channels(source, "first_stage_model.taesd_encoder.0.weight");
    return settings.resolution * settings.resolution * std::max(5 * wide, 6 * tiny) * 4;
}

}  // namespace

std::int64_t MemoryEstimate::peak() const {
    return program + std::max(encoding, text_encoder + unet + layer + activations);
}

nlohmann::json to_json(const MemoryEstimate& estimate) {
    return {{"program", estimate.program},
            {"encoding", estimate.encoding},
            {"text_encoder", estimate.text_encoder},
            {"unet", estimate.unet},
            {"layer", estimate.layer},
            {"activations", estimate.activations},
            {"peak", estimate.peak()}};
}

MemoryEstimate estimate_memory(const WeightSource& source, const Inventory& inventory,
                               const TrainSettings& settings) {
    const WeightType chosen = parse_weight_type(settings.weights);
    const auto type = [&](Part part) { return part_weight_type(chosen, part); };
    const std::int64_t number_size = settings.compute == "bf16" ? 2 : 4;
    MemoryEstimate estimate;
    estimate.program = program_bytes;
    estimate.encoding = weight_bytes(inventory.vae_encoder, type(Part::vae), 4) +
                        inventory.vae_encoder.largest * 4 + encoder_activations(source, settings);
    estimate.text_encoder = weight_bytes(inventory.text_encoder, type(Part::text_encoder), 4);
    estimate.unet = weight_bytes(inventory.unet, type(Part::unet), number_size);
    estimate.layer = chosen != WeightType::dense ? inventory.unet.largest * number_size : 0;
    estimate.activations = unet_activations(source, settings, number_size);
    return estimate;
}

}  // namespace zoodip
