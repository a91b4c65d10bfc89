#include "nn/inventory.h"

#include <algorithm>

namespace zoodip {
namespace {

PartInventory& part_of(const std::string& name, Inventory& inventory) {
    const auto starts = [&](const char* text) { return name.rfind(text, 0) == 0; };
    if (name.ends_with("position_ids")) return inventory.other;
    if (starts("model.diffusion_model.")) return inventory.unet;
    if (starts("cond_stage_model.transformer.")) return inventory.text_encoder;
    if (!starts("first_stage_model.")) return inventory.other;
    const bool encodes = starts("first_stage_model.encoder.") ||
                         starts("first_stage_model.quant_conv.") ||
                         starts("first_stage_model.taesd_encoder.");
    return encodes ? inventory.vae_encoder : inventory.vae_decoder;
}

bool is_layer_weight(const WeightInfo& info) {
    return (info.shape.size() == 2 || info.shape.size() == 4) && info.name.ends_with(".weight") &&
           info.name.find("_embedding.weight") == std::string::npos;
}

}  // namespace

double Inventory::quantised_share() const {
    std::int64_t all = 0, quantised = 0;
    for (const PartInventory* part : {&unet, &text_encoder, &vae_encoder, &vae_decoder}) {
        all += part->parameters;
        quantised += part->quantised;
    }
    return all == 0 ? 0 : static_cast<double>(quantised) / static_cast<double>(all);
}

Inventory take_inventory(const WeightSource& weights) {
    Inventory inventory;
    for (const WeightInfo& info : weights.list()) {
        PartInventory& part = part_of(info.name, inventory);
        std::int64_t count = 1;
        for (const std::int64_t size : info.shape) count *= size;
        ++part.tensors;
        part.parameters += count;
        part.bytes[c10::toString(info.dtype)] +=
            count * static_cast<std::int64_t>(c10::elementSize(info.dtype));
        if (is_layer_weight(info)) {
            part.quantised += count;
            part.largest = std::max(part.largest, count);
        } else if (info.name.ends_with("token_embedding.weight")) {
            part.table += count;
        }
    }
    return inventory;
}

}  // namespace zoodip
