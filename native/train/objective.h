// What is minimised: the waist of the hourglass. Above it everything sees losses: [k, d] -> [k].
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "diffusion/schedule.h"
#include "nn/text_encoder.h"
#include "nn/unet.h"
#include "train/captions.h"
#include "train/token_layout.h"

namespace zoodip {

// What all passes of one step share.
struct Sample {
    std::int64_t picture = 0;
    bool mirrored = false;
    std::int64_t timestep = 0;
    at::Tensor z;    // [1, channels, height, width], in the UNet's scale
    at::Tensor eps;  // the same shape, N(0, I)
};

class Objective {
  public:
    virtual ~Objective() = default;

    // thetas: float32 [k, d] on the CPU. Returns [k] on the CPU, float64 of float32 residuals.
    // A row's loss has the same bits at any position and beside any neighbours.
    virtual at::Tensor losses(const at::Tensor& thetas, const Sample& sample) = 0;
};

// The denoising loss of Eq. 1: mean over all elements of (target - UNet(z_t, t, c_theta))^2.
class DiffusionObjective : public Objective {
  public:
    struct Parts {
        const TextEncoder& text_encoder;
        const UNet& unet;
        Prediction prediction = Prediction::epsilon;
        std::int64_t clip_skip = 1;
        at::Device device = at::kCPU;
        NoiseSchedule schedule = {};
    };

    // texts: one for each picture, with places of layout slots.
    DiffusionObjective(Parts parts, TokenLayout layout, std::vector<PreparedText> texts);

    at::Tensor losses(const at::Tensor& thetas, const Sample& sample) override;

    // How often the UNet ran: one batched call a step.
    std::int64_t unet_calls() const { return unet_calls_; }

  private:
    Parts parts_;
    TokenLayout layout_;
    std::vector<PreparedText> texts_;
    std::int64_t unet_calls_ = 0;
};

// The vectors of every placed word, in the order of the text, then the fixed ones: thetas [rows,
// d].
TokenInjection inject(const PreparedText& text, const TokenLayout& layout,
                      const at::Tensor& thetas);

}  // namespace zoodip
