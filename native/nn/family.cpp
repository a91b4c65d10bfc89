#include "nn/family.h"

#include <algorithm>
#include <cmath>
#include <string_view>

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/json.h"
#include "nn/foreign_weights.h"

namespace zoodip {
namespace {

const std::string unet_root = "model.diffusion_model.";
const std::string text_root = "cond_stage_model.transformer.";
const std::string vae_root = "first_stage_model.";

bool starts(const WeightSource& weights, std::string_view start) {
    return std::any_of(weights.list().begin(), weights.list().end(),
                       [&](const WeightInfo& info) { return info.name.starts_with(start); });
}

void require_parts(const WeightSource& weights) {
    const bool unet = starts(weights, unet_root);
    const bool text = starts(weights, text_root);
    const bool vae = starts(weights, vae_root);
    const auto& name = weights.description();
    require(unet || text || vae, name, ": holds ", weights.list().size(),
            " tensors, none of them of a known model.", family_remedy);
    require(int{unet} + text + vae > 1, name, ": is ",
            unet   ? "a UNet"
            : text ? "a text encoder"
                   : "an autoencoder (VAE)",
            " alone.", family_remedy);
    require(unet, name, ": has no UNet (model.diffusion_model.*).", family_remedy);
    require(text, name, ": has no text encoder (cond_stage_model.transformer.*).", family_remedy);
    require(vae, name, ": has no autoencoder (first_stage_model.*).", family_remedy);
}

std::int64_t dimension(const WeightSource& weights, const std::string& name, std::size_t index) {
    const WeightInfo* info = weights.find(name);
    require(info != nullptr, weights.description(), ": is not whole, '", name,
            "' is missing. The model is damaged or was cut: get it anew");
    require(info->shape.size() > index, weights.description(), ": '", name, "' has shape ",
            at::IntArrayRef(info->shape), ", expected more dimensions than ", index,
            ". The model is damaged: get it anew");
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
    require(in != 9, name, ": is an inpainting model (9 input channels).", family_remedy);
    require(in != 8, name, ": is an InstructPix2Pix model (8 input channels).", family_remedy);
    require(in == 4, name, ": its UNet takes ", in, " channels, Stable Diffusion 1.x takes 4.",
            family_remedy);
}

// The width of the text that the UNet attends to.
std::int64_t context_width(const WeightSource& weights) {
    for (const WeightInfo& info : weights.list()) {
        if (info.name.rfind(unet_root, 0) == 0 && info.name.ends_with(".attn2.to_k.weight") &&
            info.shape.size() == 2) {
            return info.shape[1];
        }
    }
    fail(weights.description(), ": its UNet attends to no text.", family_remedy);
}

// The metadata as a JSON value; null where there is none or it is not JSON.
nlohmann::json metadata_value(const WeightSource& weights, const char* key) {
    const auto found = weights.metadata().find(key);
    if (found == weights.metadata().end()) return nullptr;
    return parse_json(found->second);
}

std::int64_t heads_from(const WeightSource& weights, const char* key, std::int64_t otherwise) {
    const auto found = weights.metadata().find(key);
    if (found == weights.metadata().end()) return otherwise;
    const nlohmann::json value = metadata_value(weights, key);
    const std::int64_t heads = value.is_number_integer() ? value.get<std::int64_t>() : 0;
    require(heads >= 1 && heads <= 1024, weights.description(), ": metadata ", key, " is '",
            found->second, "', expected one number of heads for all blocks, from 1 to 1024");
    return heads;
}

double number_from(const WeightSource& weights, const char* key, double otherwise) {
    const auto found = weights.metadata().find(key);
    if (found == weights.metadata().end()) return otherwise;
    const nlohmann::json value = metadata_value(weights, key);
    require(value.is_number(), weights.description(), ": metadata ", key, " is '", found->second,
            "', expected a number");
    return value.get<double>();
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
    architecture.prediction = weights.has("v_pred") ? Prediction::v : Prediction::epsilon;
    for (const char* key : {metadata_key::prediction, "modelspec.prediction_type"}) {
        const auto found = weights.metadata().find(key);
        if (found == weights.metadata().end()) continue;
        const std::string& said = found->second;
        const bool v = said == "v_prediction" || said == "v";
        require(v || said == "epsilon", weights.description(), ": predicts '", said,
                "'; epsilon and v_prediction are supported");
        architecture.prediction = v ? Prediction::v : Prediction::epsilon;
        return;
    }
}

// true or false; nothing where the metadata has no such key.
std::optional<bool> flag_from(const WeightSource& weights, const char* key) {
    const auto found = weights.metadata().find(key);
    if (found == weights.metadata().end()) return std::nullopt;
    const nlohmann::json value = metadata_value(weights, key);
    require(value.is_boolean(), weights.description(), ": metadata ", key, " is '", found->second,
            "', expected true or false");
    return value.get<bool>();
}

// What a missing block would hide.
void detect_structure(const WeightSource& weights, Architecture& architecture) {
    constexpr std::int64_t clip_l = 768;
    const double layers =
        number_from(weights, metadata_key::text_layers, architecture.text_width == clip_l ? 12 : 0);
    require(layers >= 0 && layers <= 99 && std::fmod(layers, 1) == 0, weights.description(),
            ": metadata ", metadata_key::text_layers, " is ", layers,
            ", expected a whole number of layers up to 99");
    architecture.text_layers = static_cast<std::int64_t>(layers);
    architecture.unet_middle = flag_from(weights, metadata_key::unet_middle).value_or(true);
    architecture.vae_quant_conv = flag_from(weights, metadata_key::vae_quant_conv);
}

void detect_resolution(const WeightSource& weights, Architecture& architecture) {
    const double side = number_from(weights, metadata_key::resolution, 512);
    require(side >= 64 && side <= 2048 && std::fmod(side, 8) == 0, weights.description(),
            ": metadata ", metadata_key::resolution, " is ", side,
            ", expected a multiple of 8 from 64 to 2048");
    architecture.resolution = static_cast<std::int64_t>(side);
}

double scalar(const WeightSource& weights, const std::string& name, double otherwise) {
    const WeightInfo* info = weights.find(name);
    if (info == nullptr) return otherwise;
    const auto one = [](std::int64_t size) { return size == 1; };
    require(std::all_of(info->shape.begin(), info->shape.end(), one), weights.description(), ": '",
            name, "' has shape ", at::IntArrayRef(info->shape), ", expected one number");
    return weights.get(name).to(at::kDouble).item<double>();
}

void detect_vae(const WeightSource& weights, Architecture& architecture) {
    if (starts(weights, vae_root + "taesd_encoder.") ||
        starts(weights, vae_root + "taesd_decoder.")) {
        architecture.vae = VaeKind::taesd;
        const double divisor = scalar(weights, vae_root + "vae_scale", 1);
        architecture.latent_scale = 0.18215 / divisor;
        architecture.latent_shift = -scalar(weights, vae_root + "vae_shift", 0) * divisor;
    }
    double& scale = architecture.latent_scale;
    double& shift = architecture.latent_shift;
    scale = number_from(weights, metadata_key::latent_scale, scale);
    shift = number_from(weights, metadata_key::latent_shift, shift);
    require(std::isfinite(scale) && scale > 0, weights.description(), ": its latent scale is ",
            scale, ", expected a positive number");
    require(std::isfinite(shift), weights.description(), ": its latent shift is ", shift,
            ", expected a finite number");
}

void detect_text_encoder(const WeightSource& weights, Architecture& architecture) {
    const std::int64_t attended = context_width(weights);
    const auto& name = weights.description();
    require(attended != 1024, name, ": is Stable Diffusion 2.x.", family_remedy);
    require(attended != 1280, name, ": is the refiner of Stable Diffusion XL.", family_remedy);
    require(attended != 2048, name, ": is Stable Diffusion XL.", family_remedy);
    const std::int64_t width =
        dimension(weights, text_encoder_root(weights) + "embeddings.token_embedding.weight", 1);
    require(width == attended, name, ": the text encoder is ", width, " wide, the UNet attends to ",
            attended, ". The parts belong to different models");
    const auto activation = weights.metadata().find(metadata_key::text_activation);
    require(activation == weights.metadata().end() || activation->second == "quick_gelu", name,
            ": its text encoder uses ",
            activation == weights.metadata().end() ? "" : activation->second,
            ", that of Stable Diffusion 1.x quick_gelu. The model belongs to another family");
    architecture.text_width = width;
}

}  // namespace

std::string text_encoder_root(const WeightSource& weights) {
    return starts(weights, text_root + "text_model.") ? text_root + "text_model." : text_root;
}

Architecture detect_architecture(const WeightSource& weights) {
    refuse_foreign_weights(weights);
    require_parts(weights);
    require_plain_numbers(weights);
    require_channels(weights);
    Architecture architecture;
    architecture.family = "Stable Diffusion 1.x";
    detect_text_encoder(weights, architecture);
    detect_heads(weights, architecture);
    detect_structure(weights, architecture);
    detect_prediction(weights, architecture);
    architecture.betas = detect_beta_schedule(weights);
    detect_vae(weights, architecture);
    detect_resolution(weights, architecture);
    return architecture;
}

}  // namespace zoodip
