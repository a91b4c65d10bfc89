#include "nn/diffusers_folder.h"

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "io/atomic_file.h"
#include "nn/diffusers_names.h"
#include "nn/family.h"
#include "nn/safetensors_source.h"

namespace zoodip {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// PART/STEM.safetensors, or its fp16 variant.
fs::path find_weights(const fs::path& folder, const std::string& part, const std::string& stem) {
    for (const char* ending : {".safetensors", ".fp16.safetensors"}) {
        const fs::path file = folder / part / (stem + ending);
        if (fs::exists(file)) return file;
    }
    const fs::path expected = folder / part / (stem + ".safetensors");
    require(!fs::exists(folder / part / (stem + ".bin")), expected.string(),
            " is missing: only a .bin is there, a Python pickle, which can run code when it is "
            "loaded. Save the model with safe_serialization=True");
    require(!fs::exists(folder / part / (stem + ".safetensors.index.json")), folder.string(),
            ": the weights of ", part,
            " are split over several files, which is not supported. "
            "Save them in one");
    fail(folder.string(), ": has no ", part, "/", stem,
         ".safetensors. A diffusers folder of Stable Diffusion 1.x holds unet, text_encoder and "
         "vae");
}

json read_config(const fs::path& file) {
    if (!fs::exists(file)) return json::object();
    const auto bytes = read_file(file, 1 << 20);
    const char* text = reinterpret_cast<const char*>(bytes.data());
    json config = json::parse(text, text + bytes.size(), nullptr, false);
    require(config.is_object(), file.string(), ": is not a JSON object; the file is damaged");
    return config;
}

UNetBlocks unet_blocks(const fs::path& file) {
    UNetBlocks blocks{0, 0, {}};
    const auto number = [](const std::string& name, std::size_t at) {
        return static_cast<std::int64_t>(std::atoi(name.c_str() + at));
    };
    const SafetensorsFile weights(file);
    for (const TensorInfo& tensor : weights.tensors()) {
        const std::string& name = tensor.name;
        if (name.rfind("down_blocks.", 0) == 0) {
            blocks.levels = std::max(blocks.levels, number(name, 12) + 1);
            const auto resnet = name.find(".resnets.");
            if (resnet != std::string::npos) {
                blocks.resnets = std::max(blocks.resnets, number(name, resnet + 9) + 1);
            }
        }
        if (name.rfind("up_blocks.", 0) == 0 && name.find(".attentions.") != std::string::npos) {
            blocks.attended.insert(number(name, 10));
        }
    }
    return blocks;
}

std::int64_t vae_levels(const fs::path& file) {
    std::int64_t levels = 0;
    const SafetensorsFile weights(file);
    for (const TensorInfo& tensor : weights.tensors()) {
        if (tensor.name.rfind("decoder.up_blocks.", 0) == 0) {
            levels = std::max<std::int64_t>(levels, std::atoi(tensor.name.c_str() + 18) + 1);
        }
    }
    return levels;
}

// A whole number, or the same one repeated in a list; other lists are not of this family.
void take_heads(const json& config, const char* key, const char* name,
                std::map<std::string, std::string>& metadata) {
    if (!config.contains(key)) return;
    json value = config[key];
    if (value.is_array() && !value.empty()) {
        const json first = value[0];
        if (std::all_of(value.begin(), value.end(), [&](const json& v) { return v == first; })) {
            value = first;
        }
    }
    if (value.is_number_integer()) metadata[name] = value.dump();
}

std::map<std::string, std::string> read_metadata(const fs::path& folder, bool taesd) {
    std::map<std::string, std::string> metadata;
    const json unet = read_config(folder / "unet" / "config.json");
    // In this family's configurations attention_head_dim is the number of heads.
    take_heads(unet, "attention_head_dim", metadata_key::unet_heads, metadata);
    take_heads(unet, "num_attention_heads", metadata_key::unet_heads, metadata);
    const json text = read_config(folder / "text_encoder" / "config.json");
    take_heads(text, "num_attention_heads", metadata_key::text_heads, metadata);
    require(text.value("hidden_act", "quick_gelu") == "quick_gelu", folder.string(),
            ": its text encoder uses ", text.value("hidden_act", ""),
            ", that of Stable Diffusion 1.x quick_gelu. The model belongs to another family");
    const json scheduler = read_config(folder / "scheduler" / "scheduler_config.json");
    if (scheduler.contains("prediction_type") && scheduler["prediction_type"].is_string()) {
        metadata[metadata_key::prediction] = scheduler["prediction_type"].get<std::string>();
    }
    const json vae = read_config(folder / "vae" / "config.json");
    const double scale = vae.value("scaling_factor", taesd ? 1.0 : 0.18215);
    metadata[metadata_key::latent_scale] = json(scale).dump();
    return metadata;
}

}  // namespace

std::unique_ptr<WeightSource> open_diffusers_folder(const fs::path& folder) {
    require(fs::is_directory(folder / "unet"), folder.string(),
            ": is a folder without unet/, so not a model that diffusers saved. Give a "
            ".safetensors checkpoint or such a folder");
    const fs::path unet = find_weights(folder, "unet", "diffusion_pytorch_model");
    const fs::path text = find_weights(folder, "text_encoder", "model");
    const fs::path vae = find_weights(folder, "vae", "diffusion_pytorch_model");
    const bool taesd = SafetensorsFile(vae).find("encoder.layers.0.weight") != nullptr;
    const auto unet_name = [blocks = unet_blocks(unet)](const std::string& name) {
        return original_unet_name(name, blocks);
    };
    const auto vae_name = [taesd, levels = vae_levels(vae)](const std::string& name) {
        return taesd ? original_taesd_name(name) : original_vae_name(name, levels);
    };
    return std::make_unique<SafetensorsSource>(
        std::vector<SafetensorsSource::Part>{
            {unet, unet_name}, {text, original_text_encoder_name}, {vae, vae_name}},
        folder.string(), read_metadata(folder, taesd));
}

}  // namespace zoodip
