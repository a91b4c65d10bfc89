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
    std::int64_t unet_heads = 8;    // attention heads of every UNet block
    std::int64_t text_heads = 12;   // attention heads of the text encoder
    std::int64_t text_width = 768;  // d, the length of one token vector
    Prediction prediction = Prediction::epsilon;
    VaeKind vae = VaeKind::kl;
    double latent_scale = 0.18215;  // z = latent_scale * (E(x) - latent_shift)
    double latent_shift = 0;
};

// Throws Error that names what was found (another family, a LoRA, a VAE or a text encoder alone,
// fp8 or otherwise quantised weights, a missing part) and what to give instead.
Architecture detect_architecture(const WeightSource& weights);

}  // namespace zoodip
