// Stable Diffusion XL, and models pruned from it: CLIP-L beside OpenCLIP's ViT-bigG, whose pooled
// vector conditions the UNet together with the picture's sizes; heads of 64 channels, 1024 pixels.
#include "core/error.h"
#include "nn/families.h"
#include "nn/foreign_weights.h"

namespace zoodip {
namespace {

// Other models whose UNet takes a vector.
void refuse_others(const WeightSource& weights) {
    const std::string& name = weights.description();
    const auto has = [&](const char* start) { return has_name_that_starts(weights, start); };
    const bool both =
        has("conditioner.embedders.0.transformer.") && has("conditioner.embedders.1.");
    require(both || !(has("conditioner.embedders.0.model.") || context_width(weights) == 1280),
            name,
            ": is the refiner of Stable Diffusion XL, which has no words of its own. Train on the "
            "base model; the refiner takes the half of the word that is its text encoder's");
    require(!has("cond_stage_model."), name,
            ": is Stable Diffusion unCLIP, whose UNet takes the embedding of a picture.",
            family_remedy);
}

}  // namespace

const Family& stable_diffusion_xl() {
    static const Family family{
        .name = "Stable Diffusion XL",
        .unet_why = "its UNet takes a vector beside the text (label_emb)",
        .encoders = {{.key = "clip_l",
                      .transformers_roots = {"conditioner.embedders.0.transformer.text_model."},
                      .openclip_roots = {},
                      .activation = TextActivation::quick_gelu,
                      .pad = 49407,
                      .layer = 2,
                      .final_norm = false,
                      .pooled = false,
                      .published_width = 768,
                      .published_layers = 12},
                     {.key = "clip_g",
                      .transformers_roots = {"conditioner.embedders.1.transformer.text_model."},
                      .openclip_roots = {"conditioner.embedders.1.model."},
                      .activation = TextActivation::gelu,
                      .pad = 0,
                      .layer = 2,
                      .final_norm = false,
                      .pooled = true,
                      .published_width = 1280,
                      .published_layers = 32}},
        .unet_heads = {.width = 64},
        .vector_conditioning = true,
        .may_predict_either = true,
        .latent_scale = 0.13025,
        .recognises =
            [](const WeightSource& weights) {
                return weights.has("model.diffusion_model.label_emb.0.0.weight");
            },
        .refuse = refuse_others,
        .prediction =
            [](const WeightSource&) {
                return ToldPrediction{Prediction::epsilon,
                                      "by its family, for nothing says otherwise"};
            },
        .preset = "sdxl",
        .values = {{"mu", 1e-2}, {"t_lower", 700}, {"steps", 20000}},
        .resolution = [](Prediction) -> std::int64_t { return 1024; },
    };
    return family;
}

}  // namespace zoodip
