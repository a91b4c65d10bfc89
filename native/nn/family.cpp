#include "nn/family.h"

#include <algorithm>
#include <array>
#include <cmath>

#include <nlohmann/json.hpp>

#include "core/ascii.h"
#include "core/error.h"
#include "core/json.h"
#include "nn/beta_schedule.h"
#include "nn/families.h"
#include "nn/foreign_weights.h"
#include "nn/inventory.h"
#include "nn/tensorwise.h"
#include "nn/text_names.h"

namespace zoodip {
namespace {

const std::string unet_root = "model.diffusion_model.";
const std::string vae_root = "first_stage_model.";
constexpr std::array<const char*, 3> text_roots = {
    "cond_stage_model.transformer.", "cond_stage_model.model.", "conditioner.embedders."};

bool has_text_encoder(const WeightSource& weights) {
    return std::any_of(text_roots.begin(), text_roots.end(),
                       [&](const char* root) { return has_name_that_starts(weights, root); });
}

void require_parts(const WeightSource& weights) {
    const bool unet = has_name_that_starts(weights, unet_root);
    const bool text = has_text_encoder(weights);
    const bool vae = has_name_that_starts(weights, vae_root);
    const auto& name = weights.description();
    require(unet || text || vae, name, ": holds ", weights.list().size(),
            " tensors, none of them of a known model.", family_remedy);
    require(int{unet} + text + vae > 1, name, ": is ",
            unet   ? "a UNet"
            : text ? "a text encoder"
                   : "an autoencoder (VAE)",
            " alone.", family_remedy);
    require(unet, name, ": has no UNet (model.diffusion_model.*).", family_remedy);
    require(text, name, ": has no text encoder (cond_stage_model.* or conditioner.embedders.*).",
            family_remedy);
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
        if (!part_of(info.name)) continue;
        if (!info.name.ends_with(".weight")) continue;
        const bool plain = info.dtype == at::kFloat || info.dtype == at::kHalf ||
                           info.dtype == at::kBFloat16 || info.dtype == at::kDouble;
        require(plain || is_tensorwise(weights, info), weights.description(), ": '", info.name,
                "' is stored as ", c10::toString(info.dtype),
                ". Of weights that are quantised already, layers in int8_tensorwise are read: give "
                "the checkpoint in that, or in fp16, bf16 or fp32, zoodip quantises it itself");
    }
}

// What a UNet that takes so many channels beside or instead of four is for; nullptr for others.
const char* purpose_of(std::int64_t channels) {
    if (channels == 9) return "an inpainting model";
    if (channels == 8) return "an InstructPix2Pix model";
    if (channels == 7) return "an upscaler";
    if (channels == 5) return "a model that takes depth";
    return nullptr;
}

void require_channels(const WeightSource& weights) {
    const std::int64_t in = dimension(weights, unet_root + "input_blocks.0.0.weight", 1);
    const auto& name = weights.description();
    const char* purpose = purpose_of(in);
    require(purpose == nullptr, name, ": is ", purpose, " (", in, " input channels).",
            family_remedy);
    require(in == 4, name, ": its UNet takes ", in, " channels, the known families' take 4.",
            family_remedy);
}

// The metadata as a JSON value; null where there is none or it is not JSON.
nlohmann::json metadata_value(const WeightSource& weights, const char* key) {
    const auto found = weights.metadata().find(key);
    if (found == weights.metadata().end()) return nullptr;
    return parse_json(found->second);
}

std::int64_t count_from(const WeightSource& weights, const std::string& key, std::int64_t otherwise,
                        std::int64_t most, const char* what) {
    const auto found = weights.metadata().find(key);
    if (found == weights.metadata().end()) return otherwise;
    const nlohmann::json value = metadata_value(weights, key.c_str());
    const std::int64_t count = value.is_number_integer() ? value.get<std::int64_t>() : 0;
    require(count >= 1 && count <= most, weights.description(), ": metadata ", key, " is '",
            found->second, "', expected ", what, ", from 1 to ", most);
    return count;
}

std::int64_t heads_from(const WeightSource& weights, const std::string& key,
                        std::int64_t otherwise) {
    return count_from(weights, key, otherwise, 1024, "one number of heads for all blocks");
}

double number_from(const WeightSource& weights, const char* key, double otherwise) {
    const auto found = weights.metadata().find(key);
    if (found == weights.metadata().end()) return otherwise;
    const nlohmann::json value = metadata_value(weights, key);
    require(value.is_number(), weights.description(), ": metadata ", key, " is '", found->second,
            "', expected a number");
    return value.get<double>();
}

void detect_unet_heads(const WeightSource& weights, const Family& family,
                       Architecture& architecture) {
    HeadRule& rule = architecture.unet_heads;
    rule = family.unet_heads;
    const auto& metadata = weights.metadata();
    if (metadata.count(metadata_key::unet_head_width) > 0) {
        rule = {.width = count_from(weights, metadata_key::unet_head_width, 64, 1024,
                                    "the channels of a head")};
    } else if (metadata.count(metadata_key::unet_heads) > 0) {
        rule = {.count = heads_from(weights, metadata_key::unet_heads, 8), .width = 0};
    }
    for (const WeightInfo& info : weights.list()) {
        const bool query = info.name.starts_with(unet_root) && info.name.ends_with(".to_q.weight");
        if (!query || info.shape.empty()) continue;
        const std::int64_t heads = rule.of(info.shape[0]);
        require(info.shape[0] % heads == 0, weights.description(), ": ", heads,
                " heads do not divide the ", info.shape[0], " channels of '", info.name,
                "'. Name their number in the metadata ", metadata_key::unet_heads);
    }
}

void detect_prediction(const WeightSource& weights, const Family& family,
                       Architecture& architecture) {
    for (const char* key : {metadata_key::prediction, "modelspec.prediction_type"}) {
        const auto found = weights.metadata().find(key);
        if (found == weights.metadata().end()) continue;
        const std::string& said = found->second;
        const bool v = said == "v_prediction" || said == "v";
        require(v || said == "epsilon", weights.description(), ": predicts '", said,
                "'; epsilon and v_prediction are supported");
        architecture.prediction = v ? Prediction::v : Prediction::epsilon;
        architecture.prediction_reason = "as its metadata says";
        return;
    }
    if (weights.has("v_pred")) {
        architecture.prediction = Prediction::v;
        architecture.prediction_reason = "by its tensor v_pred";
        return;
    }
    const ToldPrediction told = family.prediction(weights);
    architecture.prediction = told.prediction;
    architecture.prediction_reason = told.reason;
    architecture.prediction_guessed = family.may_predict_either;
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
    architecture.unet_middle = flag_from(weights, metadata_key::unet_middle).value_or(true);
    architecture.vae_quant_conv = flag_from(weights, metadata_key::vae_quant_conv);
}

void detect_resolution(const WeightSource& weights, const Family& family,
                       Architecture& architecture) {
    const double side =
        number_from(weights, metadata_key::resolution,
                    static_cast<double>(family.resolution(architecture.prediction)));
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

void detect_vae(const WeightSource& weights, const Family& family, Architecture& architecture) {
    architecture.latent_scale = family.latent_scale;
    if (has_name_that_starts(weights, vae_root + "taesd_encoder.") ||
        has_name_that_starts(weights, vae_root + "taesd_decoder.")) {
        architecture.vae = VaeKind::taesd;
        const double divisor = scalar(weights, vae_root + "vae_scale", 1);
        architecture.latent_scale = family.latent_scale / divisor;
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

// Where a text encoder lies, and whose names it has; nothing where there is none.
std::optional<TextEncoderSpec> find_encoder(const WeightSource& weights, const EncoderKind& kind) {
    const auto found = [&](const char* root, TextNaming naming) {
        TextEncoderSpec spec;
        spec.key = kind.key;
        spec.root = root;
        spec.naming = naming;
        return spec;
    };
    for (const char* root : kind.transformers_roots) {
        if (has_name_that_starts(weights, root)) return found(root, TextNaming::transformers);
    }
    for (const char* root : kind.openclip_roots) {
        if (has_name_that_starts(weights, root)) return found(root, TextNaming::openclip);
    }
    return std::nullopt;
}

// "Stable Diffusion XL has conditioner.embedders.0.transformer.text_model.*"
[[noreturn]] void fail_without_encoder(const WeightSource& weights, const Family& family,
                                       const EncoderKind& kind) {
    std::string roots;
    for (const auto& list : {kind.transformers_roots, kind.openclip_roots}) {
        for (const char* root : list) roots += concat(roots.empty() ? "" : " or ", root, "*");
    }
    fail(weights.description(), ": has no text encoder ", kind.key, " (", roots, "), which ",
         family.name, " has; ", family.unet_why, ".", family_remedy);
}

const char* activation_name(TextActivation activation) {
    return activation == TextActivation::gelu ? "gelu" : "quick_gelu";
}

void require_activation(const WeightSource& weights, const std::string& key, const Family& family,
                        TextActivation expected) {
    const auto found = weights.metadata().find(key);
    if (found == weights.metadata().end()) return;
    require(found->second == activation_name(expected), weights.description(),
            ": its text encoder uses ", found->second, ", that of ", family.name, " ",
            activation_name(expected), ". The model belongs to another family");
}

// The tensor that projects the pooled vector.
std::string projection_of(const WeightSource& weights, const TextEncoderSpec& spec) {
    const std::string model = "text_model.";
    std::string root = spec.root;
    if (root.ends_with(model)) root.resize(root.size() - model.size());
    for (const char* name : {"text_projection.weight", "text_projection"}) {
        if (weights.has(root + name)) return root + name;
    }
    fail(weights.description(), ": is not whole, '", root,
         spec.naming == TextNaming::openclip ? "text_projection" : "text_projection.weight",
         "' is missing, through which the text's pooled vector goes. The model is damaged or was "
         "cut: get it anew");
}

// Whose text is as wide, for a message.
std::string whose_text(std::int64_t width) {
    const std::pair<std::int64_t, const char*> known[] = {
        {768, "Stable Diffusion 1.x"},
        {1024, "Stable Diffusion 2.x"},
        {1280, "the refiner of Stable Diffusion XL"},
        {2048, "Stable Diffusion XL"}};
    for (const auto& [published, name] : known) {
        if (width == published) return concat(", as that of ", name, " does");
    }
    return {};
}

// "768 and 1280"
std::string widths_of(const std::vector<TextEncoderSpec>& encoders) {
    std::string text;
    for (const TextEncoderSpec& spec : encoders) {
        text += concat(text.empty() ? "" : " and ", spec.width);
    }
    return text;
}

void detect_text_encoders(const WeightSource& weights, const Family& family,
                          Architecture& architecture) {
    for (std::size_t i = 0; i < family.encoders.size(); ++i) {
        architecture.encoders.push_back(text_encoder_spec(weights, family, i));
    }
    const std::int64_t attended = context_width(weights);
    const bool one = architecture.encoders.size() == 1;
    require(architecture.text_width() == attended, weights.description(), ": the text encoder",
            one ? " is " : "s are ", widths_of(architecture.encoders),
            " wide, the UNet attends to ", attended, whose_text(attended),
            ". The parts belong to different models");
}

// The vector beside the text: the pooled vector, then six sizes of one width, [cos, sin] each.
void detect_vector(const WeightSource& weights, const Family& family, Architecture& architecture) {
    if (!family.vector_conditioning) return;
    const std::int64_t taken = dimension(weights, unet_root + "label_emb.0.0.weight", 1);
    std::int64_t pooled = 0;
    for (const TextEncoderSpec& spec : architecture.encoders) {
        if (spec.projection.empty()) continue;
        const bool turned = spec.projection.ends_with(".weight");
        pooled += dimension(weights, spec.projection, turned ? 0 : 1);
    }
    const std::int64_t sizes = taken - pooled;
    require(sizes > 0 && sizes % 12 == 0, weights.description(), ": label_emb takes ", taken,
            " numbers; ", family.name, " takes the pooled text (", pooled,
            " here) and six sizes of one even width. The model belongs to another family");
    architecture.size_width = sizes / 6;
}

}  // namespace

TextEncoderSpec text_encoder_spec(const WeightSource& weights, const Family& family,
                                  std::size_t index) {
    const EncoderKind& kind = family.encoders.at(index);
    const std::string suffix = index == 0 ? "" : concat("_", index + 1);
    const auto there = find_encoder(weights, kind);
    if (!there) fail_without_encoder(weights, family, kind);
    TextEncoderSpec spec = *there;
    const auto key = [&](const char* name) { return name + suffix; };
    spec.width = dimension(weights, TextNames(spec).token_embedding, 1);
    spec.heads = heads_from(weights, key(metadata_key::text_heads),
                            std::max<std::int64_t>(1, spec.width / 64));
    require(spec.width % spec.heads == 0, weights.description(), ": ", spec.heads,
            " heads do not divide the text encoder's width ", spec.width,
            ". Name their number in the metadata ", key(metadata_key::text_heads));
    spec.activation = kind.activation;
    require_activation(weights, key(metadata_key::text_activation), family, kind.activation);
    spec.pad = kind.pad;
    spec.final_norm = kind.final_norm;
    const bool published = spec.width == kind.published_width;
    const std::int64_t there_are = TextNames(spec).count_layers(weights);
    const bool cut = published && kind.may_lack_last && there_are == kind.published_layers - 1;
    spec.layers = published ? kind.published_layers - kind.may_lack_last : 0;
    if (weights.metadata().count(key(metadata_key::text_layers)) > 0) {
        spec.layers =
            count_from(weights, key(metadata_key::text_layers), 0, 99, "a number of layers");
    }
    spec.layer = count_from(weights, key(metadata_key::text_layer), cut ? 1 : kind.layer, 99,
                            "a layer counted from the end");
    if (kind.pooled) spec.projection = projection_of(weights, spec);
    return spec;
}

namespace {

// "juggernautXL_v9Lightning" -> juggernaut, xl, v9, lightning: at other signs than letters and
// digits, and where a capital follows a small letter or a digit.
std::vector<std::string> words_of(const std::string& text) {
    const auto is_small = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
    const auto is_capital = [](char c) { return c >= 'A' && c <= 'Z'; };
    std::vector<std::string> words(1);
    for (std::size_t i = 0; i < text.size(); ++i) {
        const bool begins = is_capital(text[i]) && i > 0 && is_small(text[i - 1]);
        if (begins || !(is_small(text[i]) || is_capital(text[i]))) words.emplace_back();
        if (is_small(text[i]) || is_capital(text[i])) words.back() += text[i];
    }
    for (std::string& word : words) word = lower_ascii(word);
    return words;
}

}  // namespace

std::string sign_of_distillation(const WeightSource& weights) {
    const std::string& path = weights.description();
    std::vector<std::string> texts = {path.substr(path.find_last_of("/\\") + 1)};
    for (const char* key : {"modelspec.title", "modelspec.architecture", "modelspec.description",
                            "ss_output_name", "ss_base_model_version"}) {
        const auto found = weights.metadata().find(key);
        if (found != weights.metadata().end()) texts.push_back(found->second);
    }
    for (const std::string& text : texts) {
        for (const std::string& word : words_of(text)) {
            // Whole words: "hyperrealism" is none of these.
            for (const char* sign : {"hyper", "lcm", "dmd", "dmd2", "sdxs"}) {
                if (word == sign) return sign;
            }
            for (const char* sign : {"turbo", "lightning"}) {
                if (word.ends_with(sign)) return sign;
            }
        }
    }
    return {};
}

std::int64_t Architecture::text_width() const {
    std::int64_t sum = 0;
    for (const TextEncoderSpec& spec : encoders) sum += spec.width;
    return encoders.empty() ? 768 : sum;
}

Architecture detect_architecture(const WeightSource& weights) {
    refuse_foreign_weights(weights);
    require_parts(weights);
    require_plain_numbers(weights);
    require_channels(weights);
    const Family& family = family_of(weights);
    if (family.refuse != nullptr) family.refuse(weights);
    Architecture architecture;
    architecture.family = family.name;
    detect_text_encoders(weights, family, architecture);
    detect_unet_heads(weights, family, architecture);
    detect_vector(weights, family, architecture);
    detect_structure(weights, architecture);
    detect_prediction(weights, family, architecture);
    architecture.preset = family.preset;
    architecture.betas = detect_beta_schedule(weights);
    detect_vae(weights, family, architecture);
    detect_resolution(weights, family, architecture);
    return architecture;
}

}  // namespace zoodip
