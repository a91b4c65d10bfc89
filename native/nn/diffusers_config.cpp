#include "nn/diffusers_config.h"

#include <algorithm>
#include <array>
#include <set>
#include <string_view>

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/json.h"
#include "io/atomic_file.h"
#include "nn/diffusers_scheduler.h"
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
constexpr std::array<Kind, 7> kinds = {{{"StableDiffusion3", "Stable Diffusion 3."},
                                        {"Flux", "Flux."},
                                        {"ControlNet", "a ControlNet."},
                                        {"UNet2DCondition", "a UNet alone, as diffusers saves it."},
                                        {"AutoencoderTiny", "a TAESD autoencoder alone."},
                                        {"Autoencoder", "an autoencoder (VAE) alone."},
                                        {"clip_text_model", "a text encoder alone."}}};

// Values of a configuration that change what is computed, and leave no trace in names and shapes.
struct Operation {
    std::string_view part, key;
    const char* value;  // that of the family, as JSON
};
constexpr std::array<Operation, 21> operations = {
    {{"unet", "act_fn", R"("silu")"},
     {"unet", "center_input_sample", "false"},
     {"unet", "flip_sin_to_cos", "true"},
     {"unet", "freq_shift", "0"},
     {"unet", "downsample_padding", "1"},
     {"unet", "mid_block_scale_factor", "1"},
     {"unet", "norm_num_groups", "32"},
     {"unet", "norm_eps", "1e-05"},
     {"unet", "only_cross_attention", "false"},
     {"unet", "dual_cross_attention", "false"},
     {"unet", "resnet_time_scale_shift", R"("default")"},
     {"unet", "resnet_skip_time_act", "false"},
     {"unet", "resnet_out_scale_factor", "1.0"},
     {"unet", "time_embedding_type", R"("positional")"},
     {"unet", "time_embedding_act_fn", "null"},
     {"unet", "timestep_post_act", "null"},
     {"text_encoder", "layer_norm_eps", "1e-05"},
     {"text_encoder_2", "layer_norm_eps", "1e-05"},
     {"vae", "act_fn", R"("silu")"},
     {"vae", "norm_num_groups", "32"},
     {"vae", "mid_block_add_attention", "true"}}};

void require_known_operations(const fs::path& folder,
                              const std::map<std::string_view, json>& configs) {
    for (const auto& [part, key, expected] : operations) {
        const json& config = configs.at(part);
        const auto found = config.find(key);
        if (found == config.end() || found->is_null()) continue;
        // A TAESD's activation is its own, and there is but one in use.
        if (part == "vae" && config.value("_class_name", json()) == "AutoencoderTiny") continue;
        require(*found == json::parse(expected), folder.string(), ": ", part, "/config.json has ",
                key, " ", show_json(*found), ", the known families have ", expected,
                ". That changes what is computed and is not supported.", family_remedy);
    }
}

// In these configurations attention_head_dim is the number of heads: one for all levels, or one for
// each, which then comes to heads of one width.
void put_unet_heads(const json& unet, std::map<std::string, std::string>& metadata) {
    const json widths = unet.value("block_out_channels", json::array());
    for (const char* key : {"attention_head_dim", "num_attention_heads"}) {
        std::string text;
        take(unet, key, text);
        if (text.empty()) continue;
        metadata[metadata_key::unet_heads] = text;
        metadata.erase(metadata_key::unet_head_width);
        const json heads = parse_json(text);
        if (!heads.is_array() || heads.size() != widths.size()) continue;
        std::set<std::int64_t> quotients;
        for (std::size_t level = 0; level < heads.size(); ++level) {
            const bool whole =
                heads[level].is_number_integer() && heads[level] > 0 &&
                widths[level].is_number_integer() &&
                widths[level].get<std::int64_t>() % heads[level].get<std::int64_t>() == 0;
            quotients.insert(
                whole ? widths[level].get<std::int64_t>() / heads[level].get<std::int64_t>() : 0);
        }
        if (quotients.size() != 1 || *quotients.begin() == 0) continue;
        metadata.erase(metadata_key::unet_heads);
        metadata[metadata_key::unet_head_width] = std::to_string(*quotients.begin());
    }
}

// What shapes do not say of a text encoder; suffix: "" or "_2".
void put_text_encoder(const json& text, const std::string& suffix,
                      std::map<std::string, std::string>& metadata) {
    const std::pair<const char*, const char*> keys[] = {
        {"num_attention_heads", metadata_key::text_heads},
        {"hidden_act", metadata_key::text_activation},
        {"num_hidden_layers", metadata_key::text_layers}};
    for (const auto& [key, name] : keys) {
        std::string found;
        take(text, key, found);
        if (!found.empty()) metadata[name + suffix] = found;
    }
}

// The pictures that the UNet was made for: its sample size in latents, times the autoencoder's
// factor. Of a size that is not square nothing is said.
void put_resolution(const json& unet, const json& vae,
                    std::map<std::string, std::string>& metadata) {
    std::string latents;
    take(unet, "sample_size", latents);
    const json side = parse_json(latents);
    if (!side.is_number_integer()) return;
    const auto channels = vae.find("block_out_channels");
    const bool listed = channels != vae.end() && channels->is_array() && !channels->empty();
    const std::size_t halvings = std::min<std::size_t>(listed ? channels->size() - 1 : 3, 8);
    const double pixels = side.get<double>() * static_cast<double>(std::size_t{1} << halvings);
    metadata[metadata_key::resolution] = json(pixels).dump();
}

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
    put_unet_heads(unet, metadata);
    const json text = read_config(folder / "text_encoder" / "config.json");
    const json second = read_config(folder / "text_encoder_2" / "config.json");
    put_text_encoder(text, "", metadata);
    put_text_encoder(second, "_2", metadata);
    std::error_code ignored;
    // Where there is one encoder the pipeline takes its last layer, whatever the family: what lies
    // behind it was left out when the folder was saved.
    if (!fs::is_directory(folder / "text_encoder_2", ignored)) {
        metadata[metadata_key::text_layer] = "1";
    }
    const json vae = read_config(folder / "vae" / "config.json");
    put(vae, "scaling_factor", metadata_key::latent_scale);
    put(vae, "shift_factor", metadata_key::latent_shift);
    put(vae, "use_quant_conv", metadata_key::vae_quant_conv);
    require_known_operations(
        folder, {{"unet", unet}, {"text_encoder", text}, {"text_encoder_2", second}, {"vae", vae}});
    if (unet.contains("mid_block_type") && unet["mid_block_type"].is_null()) {
        metadata[metadata_key::unet_middle] = "false";
    }
    put_resolution(unet, vae, metadata);
    const fs::path scheduler = folder / "scheduler" / "scheduler_config.json";
    metadata.merge(read_scheduler(scheduler.string(), read_config(scheduler)));
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
