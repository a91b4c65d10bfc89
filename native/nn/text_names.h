// What a text encoder's tensors are called, by whoever named them.
#pragma once

#include <cstdint>
#include <string>

#include "nn/family.h"

namespace zoodip {

struct TextNames {
    explicit TextNames(const TextEncoderSpec& spec);

    struct Layer {
        std::string norm1, norm2, out, fc1, fc2;  // prefixes
        // Of transformers three prefixes; OpenCLIP has one matrix [3 width, width] and one bias.
        std::string q, k, v;
        std::string joined_weight, joined_bias;
    };
    Layer layer(std::int64_t index) const;
    // As many as the highest number in the names says.
    std::int64_t count_layers(const WeightSource& weights) const;

    std::string root;
    std::string token_embedding, position_embedding;  // tensors
    std::string final_norm;                           // a prefix
    std::string layers;                               // what the layers' names begin with
    bool joined;                                      // one product for queries, keys and values
};

}  // namespace zoodip
