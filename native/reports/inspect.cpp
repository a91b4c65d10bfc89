#include "reports/inspect.h"

#include "nn/family.h"
#include "nn/inventory.h"
#include "nn/manifest.h"
#include "nn/text_names.h"
#include "nn/unet.h"
#include "objective/noise.h"
#include "objective/word_space.h"
#include "train/memory_estimate.h"
#include "train/plan.h"

namespace zoodip {
namespace {

using nlohmann::json;

json describe(const PartInventory& part) {
    return {{"tensors", part.tensors},
            {"parameters", part.parameters},
            {"quantised", part.quantised},
            {"bytes", part.bytes}};
}

json describe(const std::vector<TextEncoderSpec>& encoders, const WeightSource& source) {
    json list = json::array();
    for (const TextEncoderSpec& spec : encoders) {
        const at::Tensor table = source.get(TextNames(spec).token_embedding);
        list.push_back({{"key", spec.key},
                        {"width", spec.width},
                        {"heads", spec.heads},
                        {"row_norm", mean_row_norm(table)}});
    }
    return list;
}

// Their number, or of how many channels each is.
json describe(const HeadRule& heads) {
    if (heads.width > 0) return {{"channels", heads.width}};
    return {{"count", heads.count}};
}

PartInventory sum(PartInventory a, const PartInventory& b) {
    a.tensors += b.tensors;
    a.parameters += b.parameters;
    a.quantised += b.quantised;
    for (const auto& [type, bytes] : b.bytes) a.bytes[type] += bytes;
    return a;
}

}  // namespace

json inspect_model(const std::filesystem::path& path, const json& chosen) {
    const auto source = open_weights(path);
    const Architecture architecture = detect_architecture(*source);
    require_whole(*source, architecture, {});
    const Inventory inventory = take_inventory(*source);
    const DecidedSettings decided = settings_for(chosen, *source, /*fit=*/false);
    const TrainSettings& settings = decided.settings;
    const PartInventory vae = sum(inventory.vae_encoder, inventory.vae_decoder);
    const PartInventory all = sum(sum(inventory.unet, inventory.text_encoder), vae);
    return {{"file", path.string()},
            {"family", architecture.family},
            {"prediction", name_of(open_prediction_names(), settings.prediction)},
            {"schedule", describe(choose_betas(settings, architecture))},
            {"vae", architecture.vae == VaeKind::taesd ? "taesd" : "kl"},
            {"prediction_reason", architecture.prediction_reason},
            {"text_width", architecture.text_width()},
            {"text_encoders", describe(architecture.encoders, *source)},
            {"unet_heads", describe(architecture.unet_heads)},
            {"size_multiple", std::int64_t{8} << count_downsamples(*source)},
            {"parts",
             {{"unet", describe(inventory.unet)},
              {"text_encoder", describe(inventory.text_encoder)},
              {"vae", describe(vae)},
              {"unused", describe(inventory.other)}}},
            {"parameters", all.parameters},
            {"unread", unread_tensors(*source, architecture)},
            {"quantised_share", inventory.quantised_share()},
            {"resolution", settings.resolution},
            {"n", settings.n},
            {"weights", name_of(weight_type_names(), settings.weights)},
            {"compute", name_of(open_compute_names(), settings.compute)},
            {"compute_choice", decided.compute_choice},
            {"memory", to_json(estimate_memory(*source, inventory, settings))}};
}

}  // namespace zoodip
