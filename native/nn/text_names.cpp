#include "nn/text_names.h"

#include "core/error.h"
#include "nn/manifest_survey.h"

namespace zoodip {

TextNames::TextNames(const TextEncoderSpec& spec)
    : root(spec.root), joined(spec.naming == TextNaming::openclip) {
    token_embedding =
        root + (joined ? "token_embedding.weight" : "embeddings.token_embedding.weight");
    position_embedding =
        root + (joined ? "positional_embedding" : "embeddings.position_embedding.weight");
    final_norm = root + (joined ? "ln_final" : "final_layer_norm");
    layers = root + (joined ? "transformer.resblocks." : "encoder.layers.");
}

TextNames::Layer TextNames::layer(std::int64_t index) const {
    const std::string at = concat(layers, index, ".");
    if (joined) {
        return {.norm1 = at + "ln_1",
                .norm2 = at + "ln_2",
                .out = at + "attn.out_proj",
                .fc1 = at + "mlp.c_fc",
                .fc2 = at + "mlp.c_proj",
                .q = {},
                .k = {},
                .v = {},
                .joined_weight = at + "attn.in_proj_weight",
                .joined_bias = at + "attn.in_proj_bias"};
    }
    return {.norm1 = at + "layer_norm1",
            .norm2 = at + "layer_norm2",
            .out = at + "self_attn.out_proj",
            .fc1 = at + "mlp.fc1",
            .fc2 = at + "mlp.fc2",
            .q = at + "self_attn.q_proj",
            .k = at + "self_attn.k_proj",
            .v = at + "self_attn.v_proj",
            .joined_weight = {},
            .joined_bias = {}};
}

std::int64_t TextNames::count_layers(const WeightSource& weights) const {
    return Survey(weights, "").count(layers);
}

}  // namespace zoodip
