#include "objective/self_check.h"

#include <cmath>
#include <limits>

#include <ATen/TensorOperators.h>
#include <ATen/ops/linalg_vector_norm.h>

#include "core/error.h"
#include "objective/denoise.h"

namespace zoodip {
namespace {

double length(const at::Tensor& x) {
    return at::linalg_vector_norm(x).item<double>();
}

at::Tensor plain(const at::Tensor& x) {
    return x.to(at::kCPU, at::kDouble);
}

void require_agreement(const char* what, const at::Tensor& got, const at::Tensor& expected,
                       double limit, const char* causes) {
    const double error = relative_error(got, expected);
    require(error <= limit, "self-check: ", what, " differ by ", 100 * error,
            " % from those of the wired model, expected at most ", 100 * limit, " %. ", causes);
}

}  // namespace

double relative_error(const at::Tensor& got, const at::Tensor& expected) {
    constexpr double apart = std::numeric_limits<double>::infinity();
    if (got.sizes() != expected.sizes()) return apart;
    const at::Tensor a = plain(got), b = plain(expected);
    const double error = length(a - b) / length(b);
    return std::isfinite(error) ? error : apart;
}

void check_latent(const SelfCheck& check, const LatentEncoder& encoder, at::Device device) {
    if (!check.latent) return;
    require_agreement("latents", encoder.encode(check.latent->pixels.to(device, at::kFloat)).mean,
                      check.latent->expected, self_check_limit::latent,
                      "The VAE may be of another family or scale, or patched in a way that is not "
                      "understood: wire the one that belongs to the checkpoint");
}

void check_text(const SelfCheck& check, const TextEncoders& encoders, std::int64_t clip_skip) {
    if (!check.text) return;
    const char* causes =
        "The CLIP may carry patches or a clip skip that are not understood: wire it without them, "
        "or train on the checkpoint with its own CLIP";
    const Conditioning got = encoders.condition(check.text->text, clip_skip, {});
    require_agreement("text states", got.context, check.text->expected, self_check_limit::text,
                      causes);
    if (!check.text->pooled.defined() || !got.y) return;
    // What follows the pooled vector in y are sizes.
    require_agreement("pooled text vectors", got.y->slice(1, 0, check.text->pooled.size(-1)),
                      check.text->pooled, self_check_limit::text, causes);
}

void check_denoised(const SelfCheck& check, const UNet& unet, const NoiseSchedule& schedule,
                    Prediction prediction, const LoadOptions& load) {
    if (!check.denoised) return;
    const auto& given = *check.denoised;
    const bool int4 = part_weight_type(load.weights, Part::unet) == WeightType::int4;
    const at::Tensor z_t = given.z_t.to(load.device, at::kFloat);
    Conditioning conditioning{given.context.to(load.device, at::kFloat)};
    if (given.y.defined()) conditioning.y = given.y.to(load.device, at::kFloat);
    const Denoiser denoiser{unet, schedule, prediction};
    require_agreement("denoised latents", denoiser(z_t, given.timestep, conditioning),
                      given.expected,
                      int4 ? self_check_limit::denoised_int4 : self_check_limit::denoised,
                      "The MODEL may carry patches that are not understood: wire it without them");
}

}  // namespace zoodip
