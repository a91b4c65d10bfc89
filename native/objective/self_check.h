// Before the first step: does the engine compute what the model's owner computes?
#pragma once

#include <cstdint>
#include <optional>

#include <ATen/core/Tensor.h>

#include "diffusion/schedule.h"
#include "nn/unet.h"
#include "nn/vae.h"
#include "objective/objective.h"
#include "words/captions.h"

namespace zoodip {

// Inputs, and what the owner's own objects (a graph's model, text encoder, autoencoder) made of
// them. Each part may be absent, and is then not compared. float32, on any device.
struct SelfCheck {
    struct Latent {
        at::Tensor pixels;    // [1, 3, height, width] in [-1, 1]
        at::Tensor expected;  // [1, channels, height / 8, width / 8], in the UNet's scale
    };
    struct Text {
        PreparedText text;    // without places
        at::Tensor expected;  // [1, tokens, width]: of all encoders beside each other
        at::Tensor pooled{};  // [1, width], of a model with vector conditioning
    };
    struct Denoised {
        at::Tensor z_t;         // [1, channels, height, width]
        std::int64_t timestep;  // of the schedule
        at::Tensor context;     // [1, tokens, width]
        at::Tensor expected;    // x0, like z_t
        at::Tensor y{};         // [1, width], of a model with vector conditioning
    };
    std::optional<Latent> latent;
    std::optional<Text> text;
    std::optional<Denoised> denoised;
};

// |got - expected| / |expected|, Euclidean norms over all elements; infinite for other shapes or
// values that are not finite.
double relative_error(const at::Tensor& got, const at::Tensor& expected);

// The largest relative errors that quantised weights account for. Over 50 seeds of small random
// models (tests/python/test_graph.py) INT8 weights, with bfloat16 activations or without, make at
// most 0.047 for latents, 0.019 for text and 0.016 for denoised latents; a deeper model, and an
// owner that itself computes in half precision, add to that. What must be told apart lies above: a
// wrong latent scale (0.28 for that of SDXL), clip skip off by one (0.33), v taken for epsilon
// (1.4), a LoRA left out whose layers change by a quarter of their size (0.08). INT4 weights of the
// UNet make at most 0.173 for denoised latents over the same seeds: a small LoRA left out goes
// unseen beside them.
namespace self_check_limit {
inline constexpr double latent = 0.10;
inline constexpr double text = 0.05;
inline constexpr double denoised = 0.06;
inline constexpr double denoised_int4 = 0.40;
}  // namespace self_check_limit

// Throw Error with the figure and its limit, saying what disagrees and what may be the cause. Do
// nothing when the part is absent.
void check_latent(const SelfCheck& check, const LatentEncoder& encoder, at::Device device);
void check_text(const SelfCheck& check, const TextEncoders& encoders, std::int64_t clip_skip);
void check_denoised(const SelfCheck& check, const UNet& unet, const NoiseSchedule& schedule,
                    Prediction prediction, const LoadOptions& load);

}  // namespace zoodip
