// The text encoders of a model, side by side: Stable Diffusion 1.x has one, SDXL two.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "nn/text_encoder.h"
#include "train/captions.h"
#include "train/token_layout.h"

namespace zoodip {

struct NamedEncoder {
    std::string name;  // "clip_l": the key of its slots and in embedding files
    const TextEncoder* encoder = nullptr;
};

class TextEncoders {
  public:
    // The encoders must outlive this. Throws Error without any.
    explicit TextEncoders(std::vector<NamedEncoder> encoders);
    explicit TextEncoders(const TextEncoder& clip_l)
        : TextEncoders(std::vector<NamedEncoder>{{"clip_l", &clip_l}}) {}

    // The states of a text for every row of thetas [rows, d], on the encoders' device: their hidden
    // states beside each other, [rows, tokens, sum of widths]. clip_skip as TextEncoder has it.
    at::Tensor context(const PreparedText& text, const TokenLayout& layout,
                       const at::Tensor& thetas, std::int64_t clip_skip) const;

    // The same of a text without learned words, [1, tokens, sum of widths].
    at::Tensor context(const PreparedText& text, std::int64_t clip_skip) const;

    const std::vector<NamedEncoder>& all() const { return encoders_; }

  private:
    std::vector<NamedEncoder> encoders_;
};

// The vectors of every placed word for one encoder, in the order of the text, then the fixed ones,
// which are those of clip_l: thetas [rows, d].
TokenInjection inject(const PreparedText& text, const TokenLayout& layout, const at::Tensor& thetas,
                      const std::string& encoder = "clip_l");

}  // namespace zoodip
