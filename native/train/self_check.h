// Before the first step: does the engine compute what the model's owner computes?
#pragma once

#include <cstdint>
#include <optional>

#include <ATen/core/Tensor.h>

#include "diffusion/schedule.h"
#include "nn/text_encoder.h"
#include "nn/unet.h"
#include "nn/vae.h"
#include "train/captions.h"
#include "train/objective.h"

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
        at::Tensor expected;  // [1, tokens, width]
    };
    struct Denoised {
        at::Tensor z_t;         // [1, channels, height, width]
        std::int64_t timestep;  // of the schedule
        at::Tensor context;     // [1, tokens, width]
        at::Tensor expected;    // x0, like z_t
    };
    std::optional<Latent> latent;
    std::optional<Text> text;
    std::optional<Denoised> denoised;
};

// |got - expected| / |expected|, Euclidean norms over all elements; infinite for other shapes or
// values that are not finite.
double relative_error(const at::Tensor& got, const at::Tensor& expected);

// The largest relative error that quantised weights, and a half-precision owner, account for; see
// self_check.cpp for where the numbers come from.
namespace self_check_limit {
inline constexpr double latent = 0.10;
inline constexpr double text = 0.10;
inline constexpr double denoised = 0.10;
}  // namespace self_check_limit

// Throw Error with the figure and its limit, saying what disagrees and what may be the cause. Do
// nothing when the part is absent.
void check_latent(const SelfCheck& check, const LatentEncoder& encoder, at::Device device);
void check_text(const SelfCheck& check, const TextEncoder& encoder, std::int64_t clip_skip,
                at::Device device);
void check_denoised(const SelfCheck& check, const UNet& unet, const NoiseSchedule& schedule,
                    Prediction prediction, at::Device device);

}  // namespace zoodip
