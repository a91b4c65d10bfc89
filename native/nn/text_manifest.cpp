// CLIP's text encoders, in the names of transformers and of OpenCLIP.
#include <algorithm>

#include "core/error.h"
#include "nn/manifest_survey.h"
#include "nn/text_names.h"

namespace zoodip {
namespace {

std::int64_t measure_width(const Survey& survey, const TextNames& names, std::int64_t layers) {
    Votes width(survey);
    width.add(names.token_embedding, 1);
    width.add(names.position_embedding, 1);
    width.add_layer(names.final_norm);
    for (std::int64_t i = 0; i < layers; ++i) {
        const TextNames::Layer at = names.layer(i);
        for (const std::string& layer : {at.norm1, at.norm2, at.out, at.fc2}) {
            width.add_layer(layer);
        }
    }
    return width.winner();
}

std::int64_t measure_hidden(const Survey& survey, const TextNames& names, std::int64_t layers) {
    Votes hidden(survey);
    for (std::int64_t i = 0; i < layers; ++i) {
        const TextNames::Layer at = names.layer(i);
        hidden.add_layer(at.fc1);
        hidden.add(at.fc2 + ".weight", 1);
    }
    return hidden.winner();
}

void add_layer(const TextNames::Layer& at, std::int64_t width, std::int64_t hidden,
               ManifestBuilder& list) {
    list.norm(at.norm1, width);
    list.norm(at.norm2, width);
    if (at.joined_weight.empty()) {
        for (const std::string& layer : {at.q, at.k, at.v}) list.linear(layer, width, width);
    } else {
        const std::int64_t joined = width < 0 ? -1 : 3 * width;
        list.tensor(at.joined_weight, {joined, width});
        list.tensor(at.joined_bias, {joined});
    }
    list.linear(at.out, width, width);
    list.linear(at.fc1, hidden, width);
    list.linear(at.fc2, width, hidden);
}

void add_encoder(const WeightSource& weights, const TextEncoderSpec& spec, ManifestBuilder& list) {
    const Survey survey(weights, "");
    const TextNames names(spec);
    const std::int64_t layers =
        std::max<std::int64_t>({1, names.count_layers(weights), spec.layers});
    const std::int64_t width = measure_width(survey, names, layers);
    const std::int64_t hidden = measure_hidden(survey, names, layers);
    list.tensor(names.token_embedding, {-1, width});
    list.tensor(names.position_embedding, {-1, width});
    for (std::int64_t i = 0; i < layers; ++i) add_layer(names.layer(i), width, hidden, list);
    list.norm(names.final_norm, width);
    if (!spec.projection.empty()) list.tensor(spec.projection, {-1, -1});
}

}  // namespace

Manifest text_encoder_manifest(const WeightSource& weights, const Architecture& architecture) {
    ManifestBuilder list("");
    for (const TextEncoderSpec& spec : architecture.encoders) add_encoder(weights, spec, list);
    return list.take();
}

}  // namespace zoodip
