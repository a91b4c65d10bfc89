// What a checkpoint consists of, for people who ask.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "nn/weight_source.h"
#include "ops/types.h"

namespace zoodip {

struct PartInventory {
    std::int64_t tensors = 0;
    std::int64_t parameters = 0;
    std::int64_t quantised = 0;  // parameters that are weights of Linear or Conv2d layers
    std::int64_t table = 0;      // parameters of the token embedding
    std::int64_t largest = 0;    // parameters of the largest quantised weight
    std::map<std::string, std::int64_t> bytes;  // stored bytes by type ("Half")
    std::map<WeightType, std::int64_t> packed;  // bytes of the quantised weights in each type
};

struct Inventory {
    PartInventory unet, text_encoder, vae_encoder, vae_decoder, other;

    // The share of all parameters but `other` that become integers, from 0 to 1.
    double quantised_share() const;
};

Inventory take_inventory(const WeightSource& weights);

// The part that a tensor of this name belongs to; nothing for what no part reads.
std::optional<Part> part_of(const std::string& name);

bool is_layer_weight(const WeightInfo& info);  // of a Linear or Conv2d layer
bool is_token_table(const WeightInfo& info);   // the text encoder's embeddings of words
std::int64_t count_numbers(const WeightInfo& info);
std::int64_t stored_bytes(const WeightInfo& info);

}  // namespace zoodip
