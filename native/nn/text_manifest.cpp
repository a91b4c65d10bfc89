// CLIP's text encoder in the names of transformers.
#include <algorithm>

#include "core/error.h"
#include "nn/manifest_survey.h"

namespace zoodip {
namespace {

std::string layer_at(std::int64_t i) {
    return concat("encoder.layers.", i, ".");
}

std::int64_t measure_width(const Survey& names, std::int64_t layers) {
    Votes width(names);
    width.add("embeddings.token_embedding.weight", 1);
    width.add("embeddings.position_embedding.weight", 1);
    width.add_layer("final_layer_norm");
    for (std::int64_t i = 0; i < layers; ++i) {
        for (const char* layer : {"layer_norm1", "layer_norm2", "self_attn.out_proj", "mlp.fc2"}) {
            width.add_layer(layer_at(i) + layer);
        }
    }
    return width.winner();
}

std::int64_t measure_hidden(const Survey& names, std::int64_t layers) {
    Votes hidden(names);
    for (std::int64_t i = 0; i < layers; ++i) {
        hidden.add_layer(layer_at(i) + "mlp.fc1");
        hidden.add(layer_at(i) + "mlp.fc2.weight", 1);
    }
    return hidden.winner();
}

}  // namespace

Manifest text_encoder_manifest(const WeightSource& weights, const Architecture& architecture) {
    const Survey names(weights, text_encoder_root(weights));
    const std::int64_t layers =
        std::max<std::int64_t>({1, names.count("encoder.layers."), architecture.text_layers});
    const std::int64_t width = measure_width(names, layers);
    const std::int64_t hidden = measure_hidden(names, layers);
    ManifestBuilder list(names.root());
    list.tensor("embeddings.token_embedding.weight", {-1, width});
    list.tensor("embeddings.position_embedding.weight", {-1, width});
    for (std::int64_t i = 0; i < layers; ++i) {
        const std::string at = layer_at(i);
        list.norm(at + "layer_norm1", width);
        list.norm(at + "layer_norm2", width);
        for (const char* layer : {"q_proj", "k_proj", "v_proj", "out_proj"}) {
            list.linear(at + "self_attn." + layer, width, width);
        }
        list.linear(at + "mlp.fc1", hidden, width);
        list.linear(at + "mlp.fc2", width, hidden);
    }
    list.norm("final_layer_norm", width);
    return list.take();
}

}  // namespace zoodip
