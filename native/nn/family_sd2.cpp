// Stable Diffusion 2.x: OpenCLIP's ViT-H, heads of 64 channels; epsilon at 512 pixels (2.0 and 2.1
// base) or v at 768.
#include <ATen/TensorOperators.h>

#include "nn/families.h"

namespace zoodip {
namespace {

constexpr const char* transformers_root = "cond_stage_model.transformer.text_model.";

// In OpenCLIP's names it is no other family's. In those of transformers the published width tells,
// and the activation that a folder's configuration names.
bool recognises(const WeightSource& weights) {
    for (const char* root : {"cond_stage_model.model.", "conditioner.embedders.0.model."}) {
        if (has_name_that_starts(weights, root)) return true;
    }
    const WeightInfo* table =
        weights.find(std::string(transformers_root) + "embeddings.token_embedding.weight");
    if (table == nullptr || table->shape.size() != 2) return false;
    const auto activation = weights.metadata().find(metadata_key::text_activation);
    const bool gelu = activation != weights.metadata().end() && activation->second == "gelu";
    return gelu || table->shape[1] == 1024;
}

// The spread of a bias that training with v made wide: that of 2.1 is 0.2, of 2.1 base 0.03
// (ComfyUI, comfy/supported_models.py, SD20).
ToldPrediction prediction_of(const WeightSource& weights) {
    const std::string name =
        "model.diffusion_model.output_blocks.11.1.transformer_blocks.0.norm1.bias";
    if (weights.has(name) &&
        weights.get(name).to(at::kDouble).std(/*unbiased=*/false).item<double>() > 0.09) {
        return {Prediction::v, "by the spread of a bias in its last block"};
    }
    return {Prediction::epsilon, "by the spread of a bias in its last block"};
}

}  // namespace

const Family& stable_diffusion_2() {
    static const Family family{
        .name = "Stable Diffusion 2.x",
        .unet_why = "its text encoder is OpenCLIP's",
        .encoders = {{.key = "clip_h",
                      .transformers_roots = {transformers_root},
                      .openclip_roots = {"cond_stage_model.model.",
                                         "conditioner.embedders.0.model."},
                      .activation = TextActivation::gelu,
                      .pad = 0,
                      .layer = 2,
                      .final_norm = true,
                      .pooled = false,
                      .published_width = 1024,
                      .published_layers = 24,
                      .may_lack_last = true}},
        .unet_heads = {.width = 64},
        .vector_conditioning = false,
        .may_predict_either = true,
        .latent_scale = 0.18215,
        .recognises = recognises,
        .prediction = prediction_of,
        .preset = "sd21",
        .values = {{"mu", 1e-2}, {"learning_rate", 1e-2}},
        .resolution = [](Prediction prediction) -> std::int64_t {
            return prediction == Prediction::v ? 768 : 512;
        },
    };
    return family;
}

}  // namespace zoodip
