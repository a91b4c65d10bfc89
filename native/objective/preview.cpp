#include "objective/preview.h"

#include <utility>

#include <ATen/TensorOperators.h>

#include "diffusion/sampler.h"
#include "objective/denoise.h"
#include "objective/render.h"

namespace zoodip {

Previewer::Previewer(DiffusionObjective::Parts parts, TokenLayout layout, PreparedText text,
                     PreparedText empty_text, std::int64_t resolution)
    : parts_(std::move(parts)),
      layout_(std::move(layout)),
      text_(std::move(text)),
      empty_(parts_.text_encoders.condition(empty_text, parts_.clip_skip, parts_.size)),
      noise_(initial_noise(0, resolution, resolution).to(parts_.device)) {}

at::Tensor Previewer::draw(const at::Tensor& theta) {
    const Conditioning with = parts_.text_encoders.condition(
        text_, layout_, theta.unsqueeze(0).to(parts_.device), parts_.clip_skip, parts_.size);
    const Conditioning both = stack({empty_, with});
    const Denoiser denoiser{parts_.unet, parts_.schedule, parts_.prediction, guidance};
    return sample_dpm_solver(
        parts_.schedule, steps, noise_,
        [&](const at::Tensor& z, std::int64_t timestep) { return denoiser(z, timestep, both); });
}

}  // namespace zoodip
