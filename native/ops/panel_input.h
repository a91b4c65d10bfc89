// Activations as a panel product reads them: in its type, channels filled up to fours, with the
// border that a convolution pads.
#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

#include "ops/panel_product.h"

namespace zoodip {

struct PaddedInput {
    // [images, height, width, channels], contiguous; of int8 products uint8, or int16 where the
    // processor multiplies those.
    at::Tensor numbers;
    std::int64_t images = 1, height = 1, width = 1, channels = 0;
    std::int64_t out_height = 1, out_width = 1;
    std::int64_t stride = 1;
};

// x: float32 or bfloat16 [..., channels]: one line of all rows. x itself where that is possible.
PaddedInput flat_input(const at::Tensor& x, const PanelProduct& product);

// x: float32 or bfloat16 [images, channels, height, width]; normalised on the way where `norm` is
// not null.
PaddedInput padded_input(const at::Tensor& x, const NormFactors* norm, const PanelProduct& product,
                         std::int64_t stride, std::int64_t padding);

}  // namespace zoodip
