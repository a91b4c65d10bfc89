// Picture <-> latent: the KL autoencoder of SD 1.x and the tiny TAESD.
#pragma once

#include <memory>

#include <ATen/core/Tensor.h>

#include "nn/family.h"
#include "nn/loader.h"

namespace zoodip {

// The posterior of z, in the scale that the UNet sees. Both [rows, channels, height/8, width/8].
struct Moments {
    at::Tensor mean;
    at::Tensor deviation;  // zeros for an encoder without a posterior (TAESD)
};

class LatentEncoder {
  public:
    virtual ~LatentEncoder() = default;
    // pixels: float32 [rows, 3, height, width] in [-1, 1], sides multiples of 8.
    virtual Moments encode(const at::Tensor& pixels) const = 0;
};

class LatentDecoder {
  public:
    virtual ~LatentDecoder() = default;
    // z as the UNet sees it, float32. Returns pixels, float32, in [-1, 1] up to overshoot.
    virtual at::Tensor decode(const at::Tensor& z) const = 0;
};

// Only the half that is asked for is loaded. Weights under first_stage_model.
std::unique_ptr<LatentEncoder> load_latent_encoder(const WeightSource& source,
                                                   const Architecture& architecture,
                                                   const LoadOptions& options);
std::unique_ptr<LatentDecoder> load_latent_decoder(const WeightSource& source,
                                                   const Architecture& architecture,
                                                   const LoadOptions& options);

}  // namespace zoodip
