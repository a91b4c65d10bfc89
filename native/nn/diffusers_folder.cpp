#include "nn/diffusers_folder.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "nn/diffusers_config.h"
#include "nn/diffusers_names.h"
#include "nn/safetensors_source.h"

namespace zoodip {
namespace {

namespace fs = std::filesystem;

bool is_file(const fs::path& file) {
    std::error_code ignored;
    return fs::is_regular_file(file, ignored);
}

// Whether the folder holds a file whose name contains `text`.
bool holds(const fs::path& folder, std::string_view text) {
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(folder, ignored)) {
        if (entry.path().filename().string().find(text) != std::string::npos) return true;
    }
    return false;
}

// PART/STEM.safetensors, or its fp16 variant.
fs::path find_weights(const fs::path& folder, const std::string& part, const std::string& stem) {
    for (const char* ending : {".safetensors", ".fp16.safetensors"}) {
        const fs::path file = folder / part / (stem + ending);
        if (is_file(file)) return file;
    }
    const std::string expected = (folder / part / (stem + ".safetensors")).string();
    require(!holds(folder / part, ".safetensors.index."), expected, " is missing: the weights of ",
            part, " are split over several files, which is not supported. Save them in one");
    require(!holds(folder / part, ".bin"), expected,
            " is missing: only a .bin is there, a Python pickle, which can run code when it is "
            "loaded. Save the model with safe_serialization=True");
    fail(folder.string(), ": has no ", part, "/", stem,
         ".safetensors. A diffusers folder holds unet, text_encoder, vae and, of Stable Diffusion "
         "XL, text_encoder_2");
}

// The number of one or two digits that follows `start` in `name`, as the name tables take it.
std::optional<std::int64_t> number_after(std::string_view name, std::string_view start) {
    const auto at = name.find(start);
    if (at == std::string_view::npos) return std::nullopt;
    const char* begin = name.data() + at + start.size();
    std::int64_t number = 0;
    const auto [end, error] = std::from_chars(begin, name.data() + name.size(), number);
    const bool valid = error == std::errc() && number >= 0 && end - begin <= 2;
    return valid ? std::optional(number) : std::nullopt;
}

UNetBlocks unet_blocks(const SafetensorsFile& weights) {
    UNetBlocks blocks{0, {}};
    for (const TensorInfo& tensor : weights.tensors()) {
        const std::string_view name = tensor.name;
        if (name.starts_with("down_blocks.")) {
            const auto resnet = number_after(name, ".resnets.");
            if (resnet) blocks.resnets = std::max(blocks.resnets, *resnet + 1);
        }
        const bool attends = name.find(".attentions.") != std::string_view::npos;
        const auto up =
            name.starts_with("up_blocks.") ? number_after(name, "up_blocks.") : std::nullopt;
        if (up && attends) blocks.attended.insert(*up);
    }
    return blocks;
}

// One text encoder as Stable Diffusion 1.x and 2.x have it, or two as XL.
std::vector<SafetensorsSource::Part> text_encoders(const fs::path& folder) {
    std::error_code ignored;
    const bool second = fs::is_directory(folder / "text_encoder_2", ignored);
    require(!second || fs::is_directory(folder / "text_encoder", ignored), folder.string(),
            ": has text_encoder_2 alone, so is the refiner of Stable Diffusion XL, which has no "
            "words of its own. Train on the base model");
    const auto part = [&](const char* name, std::string root) {
        return SafetensorsSource::Part{find_weights(folder, name, "model"),
                                       [root = std::move(root)](const std::string& tensor) {
                                           return original_text_encoder_name(tensor, root);
                                       }};
    };
    if (!second) return {part("text_encoder", "cond_stage_model.transformer.")};
    return {part("text_encoder", "conditioner.embedders.0.transformer."),
            part("text_encoder_2", "conditioner.embedders.1.transformer.")};
}

std::int64_t vae_levels(const SafetensorsFile& weights) {
    std::int64_t levels = 0;
    for (const TensorInfo& tensor : weights.tensors()) {
        const auto level = number_after(tensor.name, "decoder.up_blocks.");
        if (level) levels = std::max(levels, *level + 1);
    }
    return levels;
}

}  // namespace

std::unique_ptr<WeightSource> open_diffusers_folder(const fs::path& folder) {
    refuse_foreign_folder(folder);
    std::error_code ignored;
    require(fs::is_directory(folder / "unet", ignored), folder.string(),
            ": is a folder without unet/, so not a model that diffusers saved. Give a "
            ".safetensors checkpoint or such a folder");
    const fs::path unet = find_weights(folder, "unet", "diffusion_pytorch_model");
    const std::vector<SafetensorsSource::Part> texts = text_encoders(folder);
    const fs::path vae = find_weights(folder, "vae", "diffusion_pytorch_model");
    // What the original layout does not have keeps its name, so that the detection can see it.
    const auto unet_name = [blocks = unet_blocks(SafetensorsFile(unet))](const std::string& name) {
        const auto original = original_unet_name(name, blocks);
        return original ? original : std::optional("model.diffusion_model." + name);
    };
    const SafetensorsFile vae_file(vae);
    const bool taesd = vae_file.find("encoder.layers.0.weight") != nullptr;
    const auto vae_name = [taesd, levels = vae_levels(vae_file)](const std::string& name) {
        return taesd ? original_taesd_name(name) : original_vae_name(name, levels);
    };
    std::vector<SafetensorsSource::Part> parts{{unet, unet_name}, {vae, vae_name}};
    parts.insert(parts.end(), texts.begin(), texts.end());
    return std::make_unique<SafetensorsSource>(parts, folder.string(),
                                               read_diffusers_metadata(folder, taesd));
}

}  // namespace zoodip
