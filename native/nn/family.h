// What a set of weights is, told from names and shapes.
#pragma once

#include <cstdint>
#include <string>

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
    Prediction prediction = Prediction::epsilon;
    VaeKind vae = VaeKind::kl;
    double latent_scale = 0.18215;  // z = latent_scale * (E(x) - latent_shift)
    double latent_shift = 0;
    std::int64_t resolution = 512;  // side of the pictures that the model was made for, in pixels
};

// Metadata that says what shapes do not: a checkpoint's own (`__metadata__` of the file), or what a
// diffusers folder's configurations say.
namespace metadata_key {
inline constexpr const char* unet_heads = "zoodip.unet_heads";
inline constexpr const char* text_heads = "zoodip.text_heads";
inline constexpr const char* prediction = "zoodip.prediction_type";  // "epsilon", "v_prediction"
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
// Throws Error that names what was found (another family, a LoRA, a VAE or a text encoder alone,
// fp8 or otherwise quantised weights, a missing part, metadata that is no number, heads that do not
// divide a width) and what to give instead.
Architecture detect_architecture(const WeightSource& weights);

}  // namespace zoodip
