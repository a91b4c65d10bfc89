// What a pass of the UNet multiplies, told from its weights alone.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "nn/weight_source.h"

namespace zoodip {

// Layers of one shape that see pictures of one size.
struct LayerWork {
    std::vector<std::int64_t> weight;  // [out, in] or [out, in, kernel, kernel]
    std::int64_t height = 0, width = 0,
                 stride = 1;  // of what goes in; of a Linear layer its tokens
    std::int64_t layers = 0;
    double products = 0;  // multiply-adds of all of them, for one row
};

// Self-attention over `tokens` tokens.
struct AttentionWork {
    std::int64_t tokens = 0, channels = 0, layers = 0;
};

struct UNetWork {
    std::vector<LayerWork> layers;  // the one with the most multiply-adds first
    std::vector<AttentionWork> attention;
};

// Whether a layer's weight, by its name, makes keys or values of the text.
bool sees_text(std::string_view name);

// Of latents of this size. Layers that see a single vector (the time's) are left out.
UNetWork unet_work(const WeightSource& source, std::int64_t height, std::int64_t width);

}  // namespace zoodip
