#include "nn/inventory.h"

#include <algorithm>

#include "ops/weight_codec.h"

namespace zoodip {
namespace {

PartInventory& place_of(const std::string& name, Inventory& inventory) {
    const std::optional<Part> part = part_of(name);
    if (!part) return inventory.other;
    if (*part == Part::unet) return inventory.unet;
    if (*part == Part::text_encoder) return inventory.text_encoder;
    const bool encodes = name.starts_with("first_stage_model.encoder.") ||
                         name.starts_with("first_stage_model.quant_conv.") ||
                         name.starts_with("first_stage_model.taesd_encoder.");
    return encodes ? inventory.vae_encoder : inventory.vae_decoder;
}

}  // namespace

std::optional<Part> part_of(const std::string& name) {
    if (name.ends_with("position_ids") || name.ends_with("logit_scale")) return std::nullopt;
    if (name.starts_with("model.diffusion_model.")) return Part::unet;
    for (const char* root : {"cond_stage_model.", "conditioner.embedders."}) {
        if (name.starts_with(root)) return Part::text_encoder;
    }
    if (name.starts_with("first_stage_model.")) return Part::vae;
    return std::nullopt;
}

bool is_layer_weight(const WeightInfo& info) {
    if (info.shape.size() != 2 && info.shape.size() != 4) return false;
    if (info.name.ends_with(".attn.in_proj_weight")) return true;  // OpenCLIP's
    return info.name.ends_with(".weight") &&
           info.name.find("_embedding.weight") == std::string::npos;
}

bool is_token_table(const WeightInfo& info) {
    return info.name.ends_with("token_embedding.weight");
}

double Inventory::quantised_share() const {
    std::int64_t all = 0, quantised = 0;
    for (const PartInventory* part : {&unet, &text_encoder, &vae_encoder, &vae_decoder}) {
        all += part->parameters;
        quantised += part->quantised;
    }
    return all == 0 ? 0 : static_cast<double>(quantised) / static_cast<double>(all);
}

std::int64_t count_numbers(const WeightInfo& info) {
    std::int64_t count = 1;
    for (const std::int64_t size : info.shape) count *= size;
    return count;
}

std::int64_t stored_bytes(const WeightInfo& info) {
    return count_numbers(info) * static_cast<std::int64_t>(c10::elementSize(info.dtype));
}

Inventory take_inventory(const WeightSource& weights) {
    Inventory inventory;
    for (const WeightInfo& info : weights.list()) {
        PartInventory& part = place_of(info.name, inventory);
        const std::int64_t count = count_numbers(info);
        ++part.tensors;
        part.parameters += count;
        part.bytes[c10::toString(info.dtype)] += stored_bytes(info);
        if (is_layer_weight(info)) {
            part.quantised += count;
            part.largest = std::max(part.largest, count);
            for (const WeightCodec& codec : weight_codecs()) {
                part.packed[codec.type] += codec.bytes(info.shape);
            }
        } else if (is_token_table(info)) {
            part.table += count;
        }
    }
    return inventory;
}

}  // namespace zoodip
