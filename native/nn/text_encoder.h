// The CLIP text encoder of SD 1.x (OpenAI CLIP-L and narrower ones of the same layout).
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "nn/loader.h"

namespace zoodip {

// Vectors that stand in for table rows: vectors[row][i] is used at token positions[i] of every row.
// The table itself is neither copied nor changed.
struct TokenInjection {
    std::vector<std::int64_t> positions;  // within the sequence
    at::Tensor vectors;                   // float32 [rows, positions, width]
};

struct TextOutput {
    at::Tensor hidden;  // [rows, tokens, width], after the final layer norm
    at::Tensor pooled;  // [rows, width], hidden at the first end-of-text token
};

class TextEncoder {
  public:
    // Weights under cond_stage_model.transformer.text_model. The text path computes in float32
    // whatever the options' compute type is.
    TextEncoder(const WeightSource& source, const LoadOptions& options, std::int64_t heads);

    // ids: int64 [rows or 1, tokens]. clip_skip 1 takes the last layer's states, 2 those of the
    // layer before it, and so on; the final layer norm is applied to either.
    TextOutput forward(const at::Tensor& ids, const TokenInjection& injection,
                       std::int64_t clip_skip = 1) const;

    // float32 [width]: the table's row.
    at::Tensor token_vector(std::int64_t id) const;

    const TokenTable& token_table() const { return token_table_; }

    std::int64_t width() const { return token_table_.width(); }
    std::int64_t vocabulary() const { return token_table_.vocabulary(); }
    std::int64_t layers() const { return static_cast<std::int64_t>(blocks_.size()); }

  private:
    struct Block {
        LayerNorm norm1, norm2;
        Linear q, k, v, out, fc1, fc2;
    };

    at::Tensor embed(const at::Tensor& ids, const TokenInjection& injection) const;
    at::Tensor run_block(const Block& block, at::Tensor x) const;

    std::int64_t heads_;
    CancelToken cancel_;
    TokenTable token_table_;
    at::Tensor position_embedding_;  // float32 [positions, width]
    std::vector<Block> blocks_;
    LayerNorm final_norm_;
};

}  // namespace zoodip
