// Stable Diffusion 1.x: CLIP-L, eight heads in every block of the UNet, epsilon, 512 pixels.
#include "nn/families.h"

namespace zoodip {

const Family& stable_diffusion_1() {
    static const Family family{
        .name = "Stable Diffusion 1.x",
        .unet_why = "its UNet attends to one text encoder",
        .encoders = {{.key = "clip_l",
                      // Older exports have no `text_model.` in their names.
                      .transformers_roots = {"cond_stage_model.transformer.text_model.",
                                             "cond_stage_model.transformer."},
                      .openclip_roots = {},
                      .activation = TextActivation::quick_gelu,
                      .pad = 49407,
                      .layer = 1,
                      .final_norm = true,
                      .pooled = false,
                      .published_width = 768,
                      .published_layers = 12}},
        .unet_heads = {.count = 8},
        .vector_conditioning = false,
        .may_predict_either = false,
        .latent_scale = 0.18215,
        .recognises = [](const WeightSource&) { return true; },
        .prediction =
            [](const WeightSource&) {
                return ToldPrediction{Prediction::epsilon, "by its family"};
            },
        .preset = "sd15",
        .values = {},
        .resolution = [](Prediction) -> std::int64_t { return 512; },
    };
    return family;
}

}  // namespace zoodip
