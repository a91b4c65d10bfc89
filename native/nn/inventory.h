// What a checkpoint consists of, for people who ask.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>

#include "nn/weight_source.h"

namespace zoodip {

struct PartInventory {
    std::int64_t tensors = 0;
    std::int64_t parameters = 0;
    std::int64_t quantised = 0;  // parameters that are weights of Linear or Conv2d layers
    std::int64_t table = 0;      // parameters of the token embedding
    std::int64_t largest = 0;    // parameters of the largest quantised weight
    std::map<std::string, std::int64_t> bytes;  // stored bytes by type ("Half")
};

struct Inventory {
    PartInventory unet, text_encoder, vae_encoder, vae_decoder, other;

    // The share of all parameters but `other` that INT8 quantises, from 0 to 1.
    double quantised_share() const;
};

Inventory take_inventory(const WeightSource& weights);

}  // namespace zoodip
