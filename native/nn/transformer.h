// The transformer inside a UNet level: self-attention, cross-attention with the text, GEGLU.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "nn/family.h"
#include "nn/loader.h"

namespace zoodip {

class SpatialTransformer {
  public:
    SpatialTransformer(const Loader& loader, const std::string& prefix, HeadRule heads);

    // x: [rows or 1, channels, height, width], context: [rows, tokens, context width].
    // Returns [rows, channels, height, width]: a single row of x is shared until the first
    // cross-attention, which is where the text comes in.
    at::Tensor forward(const at::Tensor& x, const at::Tensor& context) const;

  private:
    struct Attention {
        Linear q, k, v, out;
    };
    struct Block {
        LayerNorm norm1, norm2, norm3;
        Attention self, cross;
        Linear feed1, feed2;
    };

    static Attention load_attention(const Loader& loader, const std::string& prefix);
    // residual + what attention makes of x. x and context: rounded.
    at::Tensor attend(const Attention& attention, const at::Tensor& x, const at::Tensor& context,
                      const at::Tensor& residual) const;

    std::int64_t heads_;
    at::ScalarType stream_, rounded_;  // between the layers; of a large product's inputs
    CancelToken cancel_;
    GroupNorm norm_;
    Linear proj_in_, proj_out_;
    std::vector<Block> blocks_;
};

}  // namespace zoodip
