// What a set of weights is, told from names and shapes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "nn/beta_schedule.h"
#include "nn/weight_source.h"

namespace zoodip {

enum class Prediction { epsilon, v };
enum class VaeKind { kl, taesd };

// What cannot be read off a layer's own shape when it is loaded.
struct Architecture {
    std::string family;             // "Stable Diffusion 1.x"
    std::string preset = "sd15";    // whose training values suit it
    std::int64_t unet_heads = 8;    // attention heads of every UNet block
    std::int64_t text_heads = 12;   // attention heads of the text encoder
    std::int64_t text_width = 768;  // d, the length of one token vector
    std::int64_t text_layers = 0;   // of the text encoder; 0 for as many as there are
    bool unet_middle = true;        // false: made without the blocks in the middle
    Prediction prediction = Prediction::epsilon;
    BetaSchedule betas;
    VaeKind vae = VaeKind::kl;
    // Convolutions between moments and latents; nothing: both if there is a tensor of either.
    std::optional<bool> vae_quant_conv;
    double latent_scale = 0.18215;  // z = latent_scale * (E(x) - latent_shift)
    double latent_shift = 0;
    std::int64_t resolution = 512;  // side of the pictures that the model was made for, in pixels
};

// Metadata that says what shapes do not: a checkpoint's own (`__metadata__` of the file), or what a
// diffusers folder's configurations say.
namespace metadata_key {
inline constexpr const char* unet_heads = "zoodip.unet_heads";
inline constexpr const char* text_heads = "zoodip.text_heads";
inline constexpr const char* text_layers = "zoodip.text_layers";
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
inline constexpr const char* text_activation = "zoodip.text_activation";  // "quick_gelu"
}  // namespace metadata_key

// Defaults without metadata: 8 heads in the UNet, one head for every 64 channels in the text
// encoder, epsilon prediction, latent scale 0.18215 and shift 0, resolution 512. A TAESD
// (first_stage_model.taesd_encoder.*) may bring the scalars vae_scale and vae_shift as ComfyUI has
// them (1 and 0 when absent): E(x) = taesd(x) / vae_scale + vae_shift and z = 0.18215 E(x), so that
// latent_scale = 0.18215 / vae_scale and latent_shift = -vae_shift vae_scale, where E in z is taesd
// itself. The AutoencoderTiny of a diffusers folder has its configuration's scaling_factor (1 when
// absent) instead. Metadata goes before both.
//
// The prediction type is that of zoodip's metadata, else of `modelspec.prediction_type`, else v
// where the file has a tensor called `v_pred`. A text encoder 768 wide has the 12 layers of CLIP-L
// unless the metadata says otherwise.
//
// Throws Error that names what was found (another family, a LoRA, a VAE or a text encoder alone,
// fp8 or otherwise quantised weights, a missing part, metadata that is no number, heads that do not
// divide a width) and what to give instead.
Architecture detect_architecture(const WeightSource& weights);

// The start of the text encoder's names: older exports have no `text_model.` in them.
std::string text_encoder_root(const WeightSource& weights);

}  // namespace zoodip
