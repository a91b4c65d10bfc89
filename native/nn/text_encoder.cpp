#include "nn/text_encoder.h"

#include <algorithm>
#include <string>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/argmax.h>
#include <ATen/ops/index.h>
#include <ATen/ops/index_copy.h>
#include <ATen/ops/tensor.h>

#include "core/error.h"
#include "nn/family.h"
#include "ops/gradient.h"

namespace zoodip {
namespace {

constexpr std::int64_t end_of_text = 49407;

}  // namespace

TextEncoder::TextEncoder(const WeightSource& source, const LoadOptions& options, std::int64_t heads)
    : heads_(heads), cancel_(options.cancel) {
    const Loader loader(source, options, Part::text_encoder);
    const std::string prefix = text_encoder_root(source);
    token_table_ = loader.table(prefix + "embeddings.token_embedding.weight");
    position_embedding_ = loader.parameter(prefix + "embeddings.position_embedding.weight");
    for (int i = 0; loader.has(concat(prefix, "encoder.layers.", i, ".layer_norm1.weight")); ++i) {
        const std::string at = concat(prefix, "encoder.layers.", i, ".");
        blocks_.push_back(
            {loader.layer_norm(at + "layer_norm1"), loader.layer_norm(at + "layer_norm2"),
             loader.linear(at + "self_attn.q_proj"), loader.linear(at + "self_attn.k_proj"),
             loader.linear(at + "self_attn.v_proj"), loader.linear(at + "self_attn.out_proj"),
             loader.linear(at + "mlp.fc1"), loader.linear(at + "mlp.fc2")});
    }
    require(!blocks_.empty(), source.description(), ": the text encoder has no layers");
    final_norm_ = loader.layer_norm(prefix + "final_layer_norm");
}

at::Tensor TextEncoder::token_vector(std::int64_t id) const {
    return token_table_.rows(at::tensor({id}, at::kLong)).squeeze(0).clone();
}

at::Tensor TextEncoder::embed(const at::Tensor& ids, const TokenInjection& injection) const {
    const std::int64_t rows = injection.positions.empty()
                                  ? ids.size(0)
                                  : std::max(ids.size(0), injection.vectors.size(0));
    at::Tensor x = token_table_.rows(ids).expand({rows, -1, -1});
    if (!injection.positions.empty()) {
        const at::Tensor places = at::tensor(injection.positions, at::kLong).to(x.device());
        x = x.index_copy(1, places, injection.vectors.expand({rows, -1, -1}));
    }
    return x + position_embedding_.slice(0, 0, ids.size(1));
}

at::Tensor TextEncoder::run_block(const Block& block, at::Tensor x) const {
    cancel_.check();
    at::Tensor h = block.norm1(x);
    x = x + block.out(attention(block.q(h), block.k(h), block.v(h), heads_, /*causal=*/true));
    return x + block.fc2(quick_gelu(block.fc1(block.norm2(x))));
}

TextOutput TextEncoder::forward(const at::Tensor& ids, const TokenInjection& injection,
                                std::int64_t clip_skip) const {
    require(ids.dim() == 2 && ids.size(1) <= position_embedding_.size(0),
            "text encoder: needs ids [rows, at most ", position_embedding_.size(0),
            " tokens], got ", concat(ids.sizes()));
    require(clip_skip >= 1 && clip_skip <= layers(), "clip skip: needs 1 to ", layers(), ", got ",
            clip_skip);
    at::Tensor x = embed(ids, injection);
    for (std::int64_t i = 0; i <= layers() - clip_skip; ++i) {
        const Block& block = blocks_[static_cast<std::size_t>(i)];
        x = recomputed([this, &block](const Tensors& in) { return run_block(block, in[0]); }, {x});
    }
    x = final_norm_(x);
    const at::Tensor ends = ids.eq(end_of_text).to(at::kInt).argmax(1).expand({x.size(0)});
    const at::Tensor rows = at::arange(x.size(0), ends.options());
    return {x, at::index(x, {rows.to(x.device()), ends.to(x.device())})};
}

}  // namespace zoodip
