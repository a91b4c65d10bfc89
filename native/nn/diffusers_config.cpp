#include "nn/diffusers_config.h"

#include <algorithm>
#include <array>
#include <string_view>

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/json.h"
#include "io/atomic_file.h"
#include "nn/family.h"
#include "nn/foreign_weights.h"

namespace zoodip {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::uint64_t max_config = 1 << 20;

bool is_there(const fs::path& file) {
    std::error_code ignored;
    return fs::exists(file, ignored);
}

// An empty object where there is no such file.
json read_config(const fs::path& file) {
    if (!is_there(file)) return json::object();
    const auto bytes = read_file(file, max_config);
    json config = parse_json({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    require(config.is_object(), file.string(), ": is not a JSON object; the file is damaged");
    return config;
}

// Text without quotes, everything else as JSON, a list of equal values as one of them. A value of
// null means that the library's default holds, and leaves `text` as it is.
void take(const json& config, const char* key, std::string& text) {
    if (!config.contains(key) || config[key].is_null()) return;
    json value = config[key];
    if (value.is_array() && !value.empty()) {
        const json first = value[0];
        const auto same = [&](const json& v) { return v == first; };
        if (std::all_of(value.begin(), value.end(), same)) value = first;
    }
    text = value.is_string() ? value.get<std::string>() : value.dump();
}

std::string text_at(const json& config, const char* key) {
    std::string text;
    take(config, key, text);
    return text;
}

struct Kind {
    std::string_view start;  // of the name of the class
    std::string_view what;
};
constexpr std::array<Kind, 8> kinds = {{{"StableDiffusionXL", "Stable Diffusion XL."},
                                        {"StableDiffusion3", "Stable Diffusion 3."},
                                        {"Flux", "Flux."},
                                        {"ControlNet", "a ControlNet."},
                                        {"UNet2DCondition", "a UNet alone, as diffusers saves it."},
                                        {"AutoencoderTiny", "a TAESD autoencoder alone."},
                                        {"Autoencoder", "an autoencoder (VAE) alone."},
                                        {"clip_text_model", "a text encoder alone."}}};

}  // namespace

std::map<std::string, std::string> read_diffusers_metadata(const fs::path& folder, bool taesd) {
    std::map<std::string, std::string> metadata;
    metadata[metadata_key::latent_scale] = taesd ? "1.0" : "0.18215";
    const auto put = [&](const json& config, const char* key, const char* name) {
        std::string text;
        take(config, key, text);
        if (!text.empty()) metadata[name] = text;
    };
    const json unet = read_config(folder / "unet" / "config.json");
    // In this family's configurations attention_head_dim is the number of heads.
    put(unet, "attention_head_dim", metadata_key::unet_heads);
    put(unet, "num_attention_heads", metadata_key::unet_heads);
    const json text = read_config(folder / "text_encoder" / "config.json");
    put(text, "num_attention_heads", metadata_key::text_heads);
    put(text, "hidden_act", metadata_key::text_activation);
    const json scheduler = read_config(folder / "scheduler" / "scheduler_config.json");
    put(scheduler, "prediction_type", metadata_key::prediction);
    const json vae = read_config(folder / "vae" / "config.json");
    put(vae, "scaling_factor", metadata_key::latent_scale);
    put(vae, "shift_factor", metadata_key::latent_shift);
    return metadata;
}

void refuse_foreign_folder(const fs::path& folder) {
    const json index = read_config(folder / "model_index.json");
    const json part = read_config(folder / "config.json");
    for (const std::string& name : {text_at(index, "_class_name"), text_at(part, "_class_name"),
                                    text_at(part, "model_type")}) {
        for (const Kind& kind : kinds) {
            require(!name.starts_with(kind.start), folder.string(), ": is ", kind.what,
                    family_remedy);
        }
    }
    require(!is_there(folder / "pytorch_lora_weights.safetensors"), folder.string(),
            ": is a LoRA, which changes a checkpoint but is none.", family_remedy);
    require(!is_there(folder / "learned_embeds.safetensors"), folder.string(),
            ": is a learned word (an embedding).", family_remedy);
}

}  // namespace zoodip
