// What a set of weights is, told from names and shapes.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "diffusion/beta_schedule.h"
#include "diffusion/prediction.h"
#include "nn/weight_source.h"

namespace zoodip {

enum class VaeKind { kl, taesd };

// Who named a text encoder's tensors: transformers, or OpenCLIP, which keeps the three products of
// an attention in one.
enum class TextNaming { transformers, openclip };
enum class TextActivation { quick_gelu, gelu };

// One text encoder of a model.
struct TextEncoderSpec {
    std::string key;   // "clip_l": of its vectors in embedding files and on a host's wires
    std::string root;  // what the names of its tensors begin with
    TextNaming naming = TextNaming::transformers;
    std::int64_t width = 0;   // of one token vector
    std::int64_t heads = 0;   // of its attention
    std::int64_t layers = 0;  // that it has; 0 for as many as there are
    TextActivation activation = TextActivation::quick_gelu;
    std::int64_t pad = 49407;  // the id of the positions behind the end of the text
    std::int64_t layer = 1;    // whose states the UNet attends to, from the end: 1 is the last
    bool final_norm = true;    // whether those pass the final layer norm
    // The tensor that projects the pooled vector; empty where nothing asks for one.
    std::string projection = {};

    // The layer for a clip skip: 1 and what is less than the encoder's own stand for its own.
    std::int64_t layer_for(std::int64_t clip_skip) const {
        return clip_skip > layer ? clip_skip : layer;
    }
};

// Attention heads of a block of the UNet: a fixed number, or one for every `width` channels.
struct HeadRule {
    std::int64_t count = 8;
    std::int64_t width = 0;  // 0: the fixed number
    std::int64_t of(std::int64_t channels) const {
        return width == 0 ? count : std::max<std::int64_t>(1, channels / width);
    }
};

// What cannot be read off a layer's own shape when it is loaded.
struct Architecture {
    std::string family;                     // "Stable Diffusion 1.x"
    std::string preset = "sd15";            // whose training values suit it
    std::vector<TextEncoderSpec> encoders;  // in the order of their widths in the context
    HeadRule unet_heads;
    bool unet_middle = true;  // false: made without the blocks in the middle
    // Numbers of each of the six sizes in the vector conditioning, after the pooled text; 0 for a
    // UNet without one.
    std::int64_t size_width = 0;
    Prediction prediction = Prediction::epsilon;
    std::string prediction_reason;    // what decided it, for people
    bool prediction_guessed = false;  // nothing in the files decided it
    BetaSchedule betas;
    VaeKind vae = VaeKind::kl;
    // Convolutions between moments and latents; nothing: both if there is a tensor of either.
    std::optional<bool> vae_quant_conv;
    double latent_scale = 0.18215;  // z = latent_scale * (E(x) - latent_shift)
    double latent_shift = 0;
    std::int64_t resolution = 512;  // side of the pictures that the model was made for, in pixels

    // Numbers of one token in all encoders together: d of a word of one vector. 768 where nothing
    // is known of a model.
    std::int64_t text_width() const;
};

// Metadata that says what shapes do not: a checkpoint's own (`__metadata__` of the file), or what a
// diffusers folder's configurations say. Those of a second text encoder end in "_2".
namespace metadata_key {
inline constexpr const char* unet_heads = "zoodip.unet_heads";
inline constexpr const char* unet_head_width = "zoodip.unet_head_width";
inline constexpr const char* text_heads = "zoodip.text_heads";
inline constexpr const char* text_layers = "zoodip.text_layers";
inline constexpr const char* text_layer = "zoodip.text_layer";    // taken, from the end
inline constexpr const char* unet_middle = "zoodip.unet_middle";  // "false" for a UNet without
inline constexpr const char* vae_quant_conv = "zoodip.vae_quant_conv";  // "true", "false"
inline constexpr const char* prediction = "zoodip.prediction_type";     // "epsilon", "v_prediction"
inline constexpr const char* beta_schedule = "zoodip.beta_schedule";
inline constexpr const char* beta_start = "zoodip.beta_start";
inline constexpr const char* beta_end = "zoodip.beta_end";
inline constexpr const char* trained_betas = "zoodip.trained_betas";  // a list of 1000
inline constexpr const char* zero_snr = "zoodip.zero_snr";            // "true", "false"
inline constexpr const char* latent_scale = "zoodip.latent_scale";
inline constexpr const char* latent_shift = "zoodip.latent_shift";
inline constexpr const char* resolution = "zoodip.resolution";
inline constexpr const char* text_activation = "zoodip.text_activation";  // "quick_gelu", "gelu"
}  // namespace metadata_key

// Families are told apart in nn/families.h; what each of them fixes stands in its own file.
//
// Heads, layers, activation, latent scale and shift, resolution and prediction are those of the
// metadata, else of the family. A TAESD (first_stage_model.taesd_encoder.*) may bring the scalars
// vae_scale and vae_shift as ComfyUI has them (1 and 0 when absent): E(x) = taesd(x) / vae_scale +
// vae_shift and z = s E(x) with the family's s, so that latent_scale = s / vae_scale and
// latent_shift = -vae_shift vae_scale, where E in z is taesd itself. The AutoencoderTiny of a
// diffusers folder has its configuration's scaling_factor (1 when absent) instead.
//
// The prediction type is that of zoodip's metadata, else of `modelspec.prediction_type`, else v
// where the file has a tensor called `v_pred`, else what the family can tell.
//
// Throws Error that names what was found (another family, a LoRA, a VAE or a text encoder alone,
// fp8 or otherwise quantised weights, a missing part, metadata that is no number, heads that do not
// divide a width) and what to give instead.
Architecture detect_architecture(const WeightSource& weights);

// The sign in a file's name or metadata that a model was distilled to few steps ("lightning"),
// which its weights do not show; empty without one.
std::string sign_of_distillation(const WeightSource& weights);

}  // namespace zoodip
