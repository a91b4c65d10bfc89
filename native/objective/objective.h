// What is minimised: the waist of the hourglass. Above it everything sees losses: [k, d] -> [k].
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "diffusion/schedule.h"
#include "nn/unet.h"
#include "words/captions.h"
#include "words/text_encoders.h"
#include "words/token_layout.h"

namespace zoodip {

// What all passes of one step share.
struct Sample {
    std::int64_t picture = 0;
    bool mirrored = false;
    std::int64_t timestep = 0;
    at::Tensor z;              // [1, channels, height, width], in the UNet's scale
    at::Tensor eps;            // the same shape, N(0, I)
    std::int64_t caption = 0;  // which of the picture's texts
};

// How the losses of a step's points are told.
enum class LossForm {
    squared,  // L(theta_i) itself
    // L(theta_0) + (2/N) <r, eps(theta_i) - eps(theta_0)>, r = eps(theta_0) - target: the loss less
    // the square of the change, so that (loss_i - loss_0) / mu is the residual slope.
    linearised,
};

// What one pass forward and back gives.
struct LossGradient {
    double loss = 0;
    at::Tensor gradient;  // float32 [d] on the CPU
};

class Objective {
  public:
    virtual ~Objective() = default;

    // thetas: float32 [k, d] on the CPU. Returns [k] on the CPU, float64 of float32 residuals.
    // A row's loss has the same bits at any position and beside any neighbours; linearised, beside
    // the same row 0. Throws Cancelled.
    virtual at::Tensor losses(const at::Tensor& thetas, const Sample& sample,
                              LossForm form = LossForm::squared) = 0;

    // L(theta), with the bits that losses() has for this row alone, and dL/dtheta. theta: float32
    // [d] on the CPU. Throws Error, unless overridden: not every objective can be differentiated.
    virtual LossGradient gradient(const at::Tensor& theta, const Sample& sample);

    // What a step takes of several samples: the mean of losses() and of gradient() over them, added
    // up in their order.
    virtual at::Tensor mean_losses(const at::Tensor& thetas, const std::vector<Sample>& samples,
                                   LossForm form = LossForm::squared);
    virtual LossGradient mean_gradient(const at::Tensor& theta, const std::vector<Sample>& samples);

    // Of theta, which numbers some of the samples depend on: 1 or 0, float32 [d]. Undefined where
    // that is all of them. What directions in the others give of a slope is noise.
    virtual at::Tensor seen_by(const std::vector<Sample>&) const { return {}; }

    // Finds the static scales of integer activations where there are such, from what the model does
    // at theta on these samples; nothing else may be computed before. Throws Cancelled.
    virtual void calibrate(const at::Tensor& theta, const std::vector<Sample>& samples);
    // Of an objective with such activations; nullptr for another.
    virtual Activations* activations() { return nullptr; }

    // As messages call it.
    virtual std::string name() const { return "this objective"; }
};

// The mean of what losses() or gradient() gave for each of several samples, added up in their
// order.
at::Tensor mean_in_order(const std::vector<at::Tensor>& losses);
LossGradient mean_in_order(const std::vector<LossGradient>& gradients);

// The denoising loss of Eq. 1: mean over all elements of (target - UNet(z_t, t, c_theta))^2.
class DiffusionObjective : public Objective {
  public:
    struct Parts {
        TextEncoders text_encoders;
        const UNet& unet;
        Prediction prediction = Prediction::epsilon;
        std::int64_t clip_skip = 1;
        at::Device device = at::kCPU;
        NoiseSchedule schedule = {};
        PictureSize size = {};  // that the UNet is told of all pictures,
        // unless it is told of each, as it is and mirrored
        std::vector<std::array<PictureSize, 2>> sizes = {};
    };
    using Texts = std::vector<std::vector<PreparedText>>;  // of each picture, at least one

    // texts: with places of the layout's words. chunk: rows that pass through the UNet at once at
    // most, 0 for all of a call; the last chunk of several is filled up with row 0, so that all are
    // of one size and a row's loss has the same bits in any.
    DiffusionObjective(Parts parts, TokenLayout layout, Texts texts, std::int64_t chunk = 0);

    at::Tensor losses(const at::Tensor& thetas, const Sample& sample,
                      LossForm form = LossForm::squared) override;

    // Exact up to the rounding of the activations' type, through the same frozen weights.
    // Throws Cancelled within one block after cancellation, on the way back too.
    LossGradient gradient(const at::Tensor& theta, const Sample& sample) override;

    // Of several words, those that the samples' captions have.
    at::Tensor seen_by(const std::vector<Sample>& samples) const override;

    void calibrate(const at::Tensor& theta, const std::vector<Sample>& samples) override;
    // With the scales that this objective has found: several over one UNet have each their own.
    Activations* activations() override;

    // What one objective asks of a pass that it shares with others.
    struct Asked {
        DiffusionObjective* objective;
        at::Tensor thetas;  // float32 [k, d] on the CPU, of equal k
        const Sample* sample;
    };
    // Of each what losses() gives, with the same bits, by passes that all go through together: they
    // have one UNet, and latents of one size.
    static std::vector<at::Tensor> losses_together(const std::vector<Asked>& asked, LossForm form);
    // The same of gradient(), of one row each.
    static std::vector<LossGradient> gradients_together(const std::vector<Asked>& asked);

    std::string name() const override { return "the denoising loss"; }

    // How often the UNet ran: one batched call a step without chunks.
    std::int64_t unet_calls() const { return unet_calls_; }

  private:
    // Whether its passes can be shared: chunks go through one by one, and integer activations have
    // the scales of one run and timestep.
    bool shares_passes() const { return chunk_ == 0 && parts_.unet.activations() == nullptr; }
    const PreparedText& text_of(const Sample& sample) const;
    const PictureSize& size_of(const Sample& sample) const;
    Conditioning condition(const at::Tensor& thetas, const Sample& sample) const;
    // What goes into the UNet: [1, channels, height, width].
    at::Tensor noised(const Sample& sample) const;
    // What the UNet makes of every row, [k, channels, height, width].
    at::Tensor predict(const at::Tensor& thetas, const Sample& sample);
    // [k] on the CPU, of what it made.
    at::Tensor losses_of(const at::Tensor& output, const Sample& sample, LossForm form) const;
    static std::vector<at::Tensor> pass_together(const std::vector<Asked>& asked, LossForm form);

    Parts parts_;
    TokenLayout layout_;
    Texts texts_;
    std::int64_t chunk_;
    std::int64_t unet_calls_ = 0;
};

}  // namespace zoodip
