#include "objective/render.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <utility>

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>

#include "core/error.h"
#include "diffusion/sampler.h"
#include "nn/manifest.h"
#include "nn/vae.h"
#include "objective/denoise.h"
#include "objective/engine.h"
#include "objective/normal_draw.h"
#include "objective/objective.h"
#include "words/prompt.h"

namespace zoodip {
namespace {

// Text first, its encoder freed; then the UNet, freed; then the decoder: one part at a time.
class Renderer {
  public:
    Renderer(const RenderRequest& request, const CancelToken& cancel)
        : request_(request),
          source_(open_weights(request.model)),
          architecture_(detect_architecture(*source_)),
          prediction_(request.prediction.value_or(architecture_.prediction)),
          betas_(choose_betas(request.betas, architecture_)),
          load_{request.weights, request.compute, open_device(request.device), cancel} {
        require_size(*source_, height(), width());
        require_whole(*source_, architecture_, {.decoder = true});
        warn_of_unread(*source_, architecture_);
        warn_of_noise(prediction_, betas_);
    }

    // Two rows: without and with the prompt; one when guidance is 1.
    Conditioning conditioning() const {
        const PromptWords words = read_prompt_words(request_.tokens, architecture_);
        std::vector<PreparedText> texts;
        if (request_.guidance != 1) {
            texts.push_back(prepare_prompt(request_.negative, words, "negative"));
        }
        texts.push_back(prepare_prompt(request_.prompt, words, "prompt"));
        warn_of_unplaced(words, request_.prompt, texts);
        const TextEncoders encoders = load_text_encoders(*source_, architecture_, load_);
        const PictureSize size = PictureSize::whole(height(), width());
        const at::Tensor theta = words.theta.to(load_.device);
        std::vector<Conditioning> rows;
        for (const PreparedText& text : texts) {
            rows.push_back(encoders.condition(text, words.layout, theta, request_.clip_skip, size));
        }
        return stack(rows);
    }

    at::Tensor latents(const Conditioning& conditioning,
                       const std::function<void(std::int64_t, std::int64_t)>& on_step) const {
        const UNet unet(*source_, load_, architecture_.unet_heads);
        const NoiseSchedule schedule(betas_);
        const Denoiser denoiser{unet, schedule, prediction_, request_.guidance};
        std::int64_t done = 0;
        const auto denoise = [&](const at::Tensor& z, std::int64_t timestep) {
            at::Tensor x0 = denoiser(z, timestep, conditioning);
            on_step(++done, request_.steps);
            return x0;
        };
        return sample_dpm_solver(schedule, request_.steps,
                                 initial_noise(request_.seed, height(), width()).to(load_.device),
                                 denoise);
    }

    Picture decode(const at::Tensor& z) const {
        return to_picture(load_latent_decoder(*source_, architecture_, load_)->decode(z));
    }

    at::Device device() const { return load_.device; }

  private:
    std::int64_t width() const {
        return request_.width == 0 ? architecture_.resolution : request_.width;
    }
    std::int64_t height() const {
        return request_.height == 0 ? architecture_.resolution : request_.height;
    }

    const RenderRequest& request_;
    std::unique_ptr<WeightSource> source_;
    Architecture architecture_;
    Prediction prediction_;
    BetaSchedule betas_;
    LoadOptions load_;
};

}  // namespace

void RenderNames::put_into(RenderRequest& request) const {
    request.prediction = value_named(open_prediction_names(), "prediction", prediction);
    request.betas.zero_snr = value_named(on_off_names(), "zero_snr", zero_snr);
    request.betas.kind = value_named(open_beta_kind_names(), "beta_schedule", beta_schedule);
    request.weights = parse_weight_type(weights);
    request.compute = parse_compute_type(compute);
}

at::Tensor initial_noise(std::uint64_t seed, std::int64_t height, std::int64_t width) {
    return draw_normal({1, 4, height / 8, width / 8}, seed, Stream::sampler, 0);
}

Picture to_picture(const at::Tensor& pixels) {
    const at::Tensor image = ((pixels[0].cpu().clamp(-1, 1) + 1) * 127.5)
                                 .round()
                                 .to(at::kByte)
                                 .permute({1, 2, 0})
                                 .contiguous();
    const auto* data = image.const_data_ptr<std::uint8_t>();
    return {static_cast<int>(image.size(1)), static_cast<int>(image.size(0)),
            std::vector<std::uint8_t>(data, data + image.numel())};
}

Picture render(const RenderRequest& request,
               const std::function<void(std::int64_t, std::int64_t)>& on_step,
               const CancelToken& cancel) {
    require(std::isfinite(request.guidance) && request.guidance >= 1,
            "guidance: needs at least 1, ", "got ", request.guidance);
    const ThreadCount threads(request.threads);
    const Renderer renderer(request, cancel);
    const ExactProducts exact(renderer.device());
    return renderer.decode(renderer.latents(renderer.conditioning(), on_step));
}

}  // namespace zoodip
