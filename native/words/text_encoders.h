// The text encoders of a model, side by side, and what they make of a text for the UNet.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "nn/text_encoder.h"
#include "nn/unet.h"
#include "pictures/picture_size.h"
#include "words/captions.h"
#include "words/token_layout.h"

namespace zoodip {

class TextEncoders {
  public:
    // size_width: as Architecture has it. Throws Error without an encoder, and for a size_width
    // without an encoder that makes a pooled vector.
    explicit TextEncoders(std::vector<std::shared_ptr<const TextEncoder>> encoders,
                          std::int64_t size_width = 0);

    // What the UNet takes of a text for every row of thetas [rows, d], on the encoders' device:
    // their hidden states beside each other, [rows, tokens, sum of widths], and with size
    // conditioning y = [pooled, six sizes], float32 [rows, numbers] (Podell et al. 2023,
    // arXiv 2307.01952, section 2.2). clip_skip as TextEncoder has it.
    Conditioning condition(const PreparedText& text, const TokenLayout& layout,
                           const at::Tensor& thetas, std::int64_t clip_skip,
                           const PictureSize& size) const;

    // The same of a text without learned words, one row.
    Conditioning condition(const PreparedText& text, std::int64_t clip_skip,
                           const PictureSize& size) const;

    const std::vector<std::shared_ptr<const TextEncoder>>& all() const { return encoders_; }
    std::int64_t layers() const;  // of the one with the fewest

  private:
    Conditioning join(const std::vector<TextOutput>& outputs, const PictureSize& size) const;

    std::vector<std::shared_ptr<const TextEncoder>> encoders_;
    std::int64_t size_width_;
};

TextEncoders load_text_encoders(const WeightSource& source, const Architecture& architecture,
                                const LoadOptions& options);

// Rows of conditioning one below another.
Conditioning stack(const std::vector<Conditioning>& parts);

// The vectors of every placed word for one encoder, in the order of the text, then those of its
// fixed ones: thetas [rows, d].
TokenInjection inject(const PreparedText& text, const TokenLayout& layout, const at::Tensor& thetas,
                      const std::string& encoder);

}  // namespace zoodip
