#include "nn/family.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <string_view>

#include "core/error.h"

namespace zoodip {
namespace {

const std::string unet_root = "model.diffusion_model.";
const std::string text_root = "cond_stage_model.transformer.";
const std::string vae_root = "first_stage_model.";
constexpr const char* remedy =
    " zoodip trains Stable Diffusion 1.x: give a whole checkpoint of that family";

bool contains(const WeightSource& weights, std::string_view part) {
    return std::any_of(weights.list().begin(), weights.list().end(), [&](const WeightInfo& info) {
        return info.name.find(part) != std::string::npos;
    });
}

bool starts(const WeightSource& weights, std::string_view start) {
    return std::any_of(weights.list().begin(), weights.list().end(),
                       [&](const WeightInfo& info) { return info.name.rfind(start, 0) == 0; });
}

// Names that give another kind of file away, most telling first.
struct Sign {
    bool at_start;
    std::string_view text;
    std::string_view what;
};
constexpr std::array<Sign, 27> signs = {
    {{true, "lora_unet_", "a LoRA, which changes a checkpoint but is none."},
     {true, "lora_te", "a LoRA, which changes a checkpoint but is none."},
     {false, ".lora_A.", "a LoRA, which changes a checkpoint but is none."},
     {false, ".lora_down.", "a LoRA, which changes a checkpoint but is none."},
     {false, ".lora_up.", "a LoRA, which changes a checkpoint but is none."},
     {false, ".lora.down.", "a LoRA, which changes a checkpoint but is none."},
     {false, "hada_w1_a", "a LoRA (LoHa), which changes a checkpoint but is none."},
     {false, "lokr_w1", "a LoRA (LoKr), which changes a checkpoint but is none."},
     {true, "control_model.", "a ControlNet."},
     {true, "controlnet_cond_embedding.", "a ControlNet."},
     {false, "joint_blocks.", "Stable Diffusion 3."},
     {false, "double_blocks.", "Flux."},
     {true, "conditioner.embedders.", "Stable Diffusion XL."},
     {false, "label_emb.", "Stable Diffusion XL."},
     {true, "cond_stage_model.model.", "Stable Diffusion 2.x."},
     {false, ".fuser.", "a GLIGEN model, whose extra attention is not supported."},
     {false, ".absmax", "weights quantised by bitsandbytes, which are not supported."},
     {false, "scaled_fp8", "weights in scaled fp8, which are not supported."},
     {false, ".scale_weight", "weights in scaled fp8, which are not supported."},
     {false, ".qweight", "weights quantised by GPTQ or AWQ, which are not supported."},
     {true, "emb_params", "a learned word (an embedding)."},
     {true, "string_to_param", "a learned word (an embedding)."},
     {true, "clip_l", "a learned word (an embedding)."},
     {true, "text_model.", "a text encoder alone."},
     {true, "encoder.", "an autoencoder (VAE) alone."},
     {true, "taesd_", "a TAESD autoencoder alone."},
     {true, "down_blocks.", "a UNet alone, as diffusers saves it."}}};

void refuse_other_kinds(const WeightSource& weights) {
    for (const Sign& sign : signs) {
        const bool found =
            sign.at_start ? starts(weights, sign.text) : contains(weights, sign.text);
        require(!found, weights.description(), ": is ", sign.what, remedy);
    }
}

void require_parts(const WeightSource& weights) {
    const bool unet = weights.has(unet_root + "input_blocks.0.0.weight");
    const bool text = starts(weights, text_root);
    const bool vae = starts(weights, vae_root);
    const auto& name = weights.description();
    require(unet || text || vae, name, ": holds ", weights.list().size(),
            " tensors, none of them of a known model.", remedy);
    require(unet, name, ": has no UNet (model.diffusion_model.*).", remedy);
    require(text, name, ": has no text encoder (cond_stage_model.transformer.*).", remedy);
    require(vae, name, ": has no autoencoder (first_stage_model.*).", remedy);
}

std::int64_t dimension(const WeightSource& weights, const std::string& name, std::size_t index) {
    const WeightInfo* info = weights.find(name);
    require(info != nullptr && info->shape.size() > index, weights.description(), ": '", name,
            "' is missing or has an unexpected shape; the file is damaged");
    return info->shape[index];
}

void require_plain_numbers(const WeightSource& weights) {
    for (const WeightInfo& info : weights.list()) {
        const auto is_part = [&](const std::string& root) { return info.name.rfind(root, 0) == 0; };
        if (!is_part(unet_root) && !is_part(text_root) && !is_part(vae_root)) continue;
        if (!info.name.ends_with(".weight")) continue;
        const bool plain = info.dtype == at::kFloat || info.dtype == at::kHalf ||
                           info.dtype == at::kBFloat16 || info.dtype == at::kDouble;
        require(plain, weights.description(), ": '", info.name, "' is stored as ",
                c10::toString(info.dtype),
                ". Weights that are already fp8 or integers are not supported: give the checkpoint "
                "in fp16, bf16 or fp32, zoodip quantises it itself");
    }
}

void require_channels(const WeightSource& weights) {
    const std::int64_t in = dimension(weights, unet_root + "input_blocks.0.0.weight", 1);
    const auto& name = weights.description();
    require(in != 9, name, ": is an inpainting model (9 input channels).", remedy);
    require(in != 8, name, ": is an InstructPix2Pix model (8 input channels).", remedy);
    require(in == 4, name, ": its UNet takes ", in, " channels, Stable Diffusion 1.x takes 4.",
            remedy);
}

// The width of the text that the UNet attends to.
std::int64_t context_width(const WeightSource& weights) {
    for (const WeightInfo& info : weights.list()) {
        if (info.name.rfind(unet_root, 0) == 0 && info.name.ends_with(".attn2.to_k.weight") &&
            info.shape.size() == 2) {
            return info.shape[1];
        }
    }
    fail(weights.description(), ": its UNet attends to no text.", remedy);
}

std::int64_t heads_from(const WeightSource& weights, const char* key, std::int64_t otherwise) {
    const auto found = weights.metadata().find(key);
    if (found == weights.metadata().end()) return otherwise;
    const std::int64_t heads = std::atoll(found->second.c_str());
    require(heads >= 1 && heads <= 1024, weights.description(), ": metadata ", key, " is '",
            found->second, "', expected a number of heads");
    return heads;
}

void detect_heads(const WeightSource& weights, Architecture& architecture) {
    architecture.unet_heads = heads_from(weights, metadata_key::unet_heads, 8);
    architecture.text_heads = heads_from(weights, metadata_key::text_heads,
                                         std::max<std::int64_t>(1, architecture.text_width / 64));
    require(architecture.text_width % architecture.text_heads == 0, weights.description(), ": ",
            architecture.text_heads, " heads do not divide the text encoder's width ",
            architecture.text_width, ". Name their number in the metadata ",
            metadata_key::text_heads);
    for (const WeightInfo& info : weights.list()) {
        const bool query =
            info.name.rfind(unet_root, 0) == 0 && info.name.ends_with(".to_q.weight");
        if (!query || info.shape.empty()) continue;
        require(info.shape[0] % architecture.unet_heads == 0, weights.description(), ": ",
                architecture.unet_heads, " heads do not divide the ", info.shape[0],
                " channels of '", info.name, "'. Name their number in the metadata ",
                metadata_key::unet_heads);
    }
}

void detect_prediction(const WeightSource& weights, Architecture& architecture) {
    const auto found = weights.metadata().find(metadata_key::prediction);
    if (found == weights.metadata().end() || found->second == "epsilon") return;
    require(found->second == "v_prediction", weights.description(), ": predicts '", found->second,
            "'; epsilon and v_prediction are supported");
    architecture.prediction = Prediction::v;
}

double scalar(const WeightSource& weights, const std::string& name, double otherwise) {
    return weights.has(name) ? weights.get(name).to(at::kDouble).item<double>() : otherwise;
}

void detect_vae(const WeightSource& weights, Architecture& architecture) {
    if (weights.has(vae_root + "taesd_encoder.0.weight")) {
        architecture.vae = VaeKind::taesd;
        const double scale = scalar(weights, vae_root + "vae_scale", 1);
        architecture.latent_scale = 0.18215 / scale;
        architecture.latent_shift = -scalar(weights, vae_root + "vae_shift", 0) * scale;
    }
    const auto found = weights.metadata().find(metadata_key::latent_scale);
    if (found != weights.metadata().end()) {
        architecture.latent_scale = std::atof(found->second.c_str());
    }
    require(std::isfinite(architecture.latent_scale) && architecture.latent_scale > 0,
            weights.description(), ": its latent scale is ", architecture.latent_scale,
            ", expected a positive number");
}

}  // namespace

Architecture detect_architecture(const WeightSource& weights) {
    // A whole SD 1.x checkpoint may carry foreign names beside its own, but none of these signs.
    refuse_other_kinds(weights);
    require_parts(weights);
    require_plain_numbers(weights);
    require_channels(weights);
    Architecture architecture;
    architecture.family = "Stable Diffusion 1.x";
    architecture.text_width = context_width(weights);
    require(architecture.text_width != 1024, weights.description(), ": is Stable Diffusion 2.x.",
            remedy);
    const bool nested = weights.has(text_root + "text_model.embeddings.token_embedding.weight");
    const std::int64_t width = dimension(
        weights, text_root + (nested ? "text_model." : "") + "embeddings.token_embedding.weight",
        1);
    require(width == architecture.text_width, weights.description(), ": the text encoder is ",
            width, " wide, the UNet attends to ", architecture.text_width,
            ". The parts belong to different models");
    detect_heads(weights, architecture);
    detect_prediction(weights, architecture);
    detect_vae(weights, architecture);
    return architecture;
}

}  // namespace zoodip
