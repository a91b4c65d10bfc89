// One pass of the UNet, read as the picture that it stands for.
#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

#include "diffusion/schedule.h"
#include "nn/unet.h"

namespace zoodip {

struct Denoiser {
    const UNet& unet;
    const NoiseSchedule& schedule;
    Prediction prediction = Prediction::epsilon;
    double guidance = 1;

    // x0 of z_t [1, channels, height, width] at a timestep. Conditioning of one row, or of two,
    // without and with the prompt, between which `guidance` leads
    // (classifier-free guidance, Ho and Salimans 2022, arXiv 2207.12598).
    at::Tensor operator()(const at::Tensor& z_t, std::int64_t timestep,
                          const Conditioning& conditioning) const;
};

}  // namespace zoodip
