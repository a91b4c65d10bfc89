// CLIP's text encoders: OpenAI's CLIP-L, OpenCLIP's, and narrower ones of the same layouts.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "nn/family.h"
#include "nn/loader.h"

namespace zoodip {

// Vectors that stand in for table rows: vectors[row][i] is used at token positions[i] of every row.
// The table itself is neither copied nor changed.
struct TokenInjection {
    std::vector<std::int64_t> positions;  // within the sequence
    at::Tensor vectors;                   // float32 [rows, positions, width]
};

struct TextOutput {
    at::Tensor hidden;  // [rows, tokens, width]: what the UNet attends to
    // [rows, projection's width]: the last layer's states at the first end-of-text token, normed
    // and projected. Undefined for an encoder without a projection.
    at::Tensor pooled;
};

class TextEncoder {
  public:
    // The text path computes in float32 whatever the options' compute type is. Layers that nothing
    // reads, behind the one that is taken, are not loaded where there is no pooled vector.
    TextEncoder(const WeightSource& source, const LoadOptions& options, TextEncoderSpec spec);

    // ids: int64 [rows or 1, tokens], filled up with end-of-text tokens; what stands behind the
    // first of them becomes the encoder's own padding. clip_skip: 1 takes the encoder's own layer,
    // a number beyond it that layer from the end.
    TextOutput forward(const at::Tensor& ids, const TokenInjection& injection,
                       std::int64_t clip_skip = 1) const;

    // float32 [width]: the table's row.
    at::Tensor token_vector(std::int64_t id) const;

    const TokenTable& token_table() const { return token_table_; }
    const TextEncoderSpec& spec() const { return spec_; }

    std::int64_t width() const { return token_table_.width(); }
    std::int64_t vocabulary() const { return token_table_.vocabulary(); }
    std::int64_t layers() const { return layers_; }  // that the model has
    at::Device device() const { return position_embedding_.device(); }

  private:
    struct Block {
        LayerNorm norm1, norm2;
        std::vector<Linear> in;  // queries, keys and values: three products, or one for all
        Linear out, fc1, fc2;
    };

    static Block load_block(const Loader& loader, const struct TextNames& names,
                            std::int64_t index);
    at::Tensor own_padding(const at::Tensor& ids) const;
    at::Tensor embed(const at::Tensor& ids, const TokenInjection& injection) const;
    at::Tensor attend(const Block& block, const at::Tensor& x) const;
    at::Tensor run_block(const Block& block, at::Tensor x) const;
    at::Tensor run(at::Tensor x, std::int64_t first, std::int64_t end) const;

    TextEncoderSpec spec_;
    CancelToken cancel_;
    TokenTable token_table_;
    at::Tensor position_embedding_;  // float32 [positions, width]
    std::int64_t layers_ = 0;
    std::vector<Block> blocks_;
    LayerNorm final_norm_;
    std::optional<Linear> projection_;
};

}  // namespace zoodip
