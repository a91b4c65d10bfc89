#include "train/memory_estimate.h"

#include <algorithm>

#include "nn/unet.h"
#include "ops/panel_product.h"
#include "ops/types.h"

namespace zoodip {
namespace {

// A program linked to libtorch_cpu, with the code of the first primitives, measured.
constexpr std::int64_t program_bytes = 150 << 20;
// What torch's bfloat16 products set up beside that on a CPU, measured.
constexpr std::int64_t bfloat16_bytes = 36 << 20;

std::int64_t first_channels(const WeightSource& source, const char* name) {
    const WeightInfo* info = source.find(name);
    return info == nullptr || info->shape.empty() ? 0 : info->shape[0];
}

// Weights of a part: quantised ones as integers, the rest in float32; the token table apart.
std::int64_t weight_bytes(const PartInventory& part, WeightType type, std::int64_t dense_size) {
    const auto packed = part.packed.find(type);
    const std::int64_t layers =
        packed == part.packed.end() ? part.quantised * dense_size : packed->second;
    return layers + (part.parameters - part.quantised - part.table) * 4;
}

// The token table as stored; on the CPU a source that reads rows leaves it where it is.
std::int64_t table_bytes(const WeightSource& source, const TrainSettings& settings) {
    for (const WeightInfo& info : source.list()) {
        if (!is_token_table(info)) continue;
        const bool left = runs_on_cpu(settings) && source.part_reader(info.name);
        return left ? 0 : stored_bytes(info);
    }
    return 0;
}

// Copies of the first level's activations (C channels at every pixel of the latents) that are alive
// at the widest moment.
// A forward pass, for each row: the last residual block's input (2 C), skips (2 C) and result (C).
constexpr std::int64_t row_copies = 5;
// For each of the rows that pass through a layer together, by the CPU's own products: the joined
// input (3 C), that with a border (3 C) and two products (2 C). Measured: 25 for three rows, one
// after another.
constexpr std::int64_t own_working_copies = 8;
// By torch's operators: the feed-forward of the first transformer, that is input, residual and norm
// (3 C), its product (8 C), gelu of one half and their product (4 C + 4 C).
constexpr std::int64_t working_copies = 3 + 8 + 8;
// A gradient: the inputs of all steps that are computed again, and one transformer with its graph
// and the gradients within. Measured: 72 for SD1.5, 112 for the demo model.
constexpr std::int64_t gradient_copies = 80;

// On the CPU activations are float32 with every type of products.
std::int64_t activation_size(const TrainSettings& settings) {
    return runs_on_cpu(settings) || settings.compute == ComputeType::float32 ? 4 : 2;
}

std::int64_t unet_activations(const WeightSource& source, const TrainSettings& settings,
                              std::int64_t runs) {
    const std::int64_t side = settings.resolution / 8;
    const std::int64_t channels =
        first_channels(source, "model.diffusion_model.input_blocks.0.0.weight");
    const std::int64_t points = points_of(settings);
    const std::int64_t rows =
        settings.chunk == 0 ? points * runs : std::min(points, settings.chunk);
    const std::int64_t together =
        runs_on_cpu(settings) ? UNet::rows_together(side, side, rows) : rows;
    const std::int64_t working = has_own_products(settings) ? own_working_copies : working_copies;
    const std::int64_t copies = settings.method == exact_gradient
                                    ? gradient_copies * runs
                                    : rows * row_copies + together * working;
    return copies * side * side * channels * activation_size(settings);
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

bool has_own_products(const TrainSettings& settings) {
    return runs_on_cpu(settings) && settings.weights != WeightType::dense &&
           has_panel_product(ProductType::float32);
}

MemoryEstimate estimate_memory(const WeightSource& source, const Inventory& inventory,
                               const TrainSettings& settings, std::int64_t runs) {
    const WeightType chosen = settings.weights;
    const auto type = [&](Part part) { return part_weight_type(chosen, part); };
    const bool narrow = settings.compute != ComputeType::float32;
    const std::int64_t number_size = narrow ? 2 : 4;  // of an unpacked weight
    MemoryEstimate estimate;
    const bool rounded = runs_on_cpu(settings) && narrow;
    estimate.program =
        program_bytes + (rounded && !has_own_products(settings) ? bfloat16_bytes : 0);
    estimate.encoding = weight_bytes(inventory.vae_encoder, type(Part::vae), 4) +
                        inventory.vae_encoder.largest * 4 + encoder_activations(source, settings);
    estimate.text_encoder = weight_bytes(inventory.text_encoder, type(Part::text_encoder), 4) +
                            table_bytes(source, settings);
    estimate.unet = weight_bytes(inventory.unet, type(Part::unet), number_size);
    const bool unpacked = chosen != WeightType::dense && !has_own_products(settings);
    estimate.layer = unpacked ? inventory.unet.largest * number_size : 0;
    estimate.activations = unet_activations(source, settings, runs);
    return estimate;
}

}  // namespace zoodip
