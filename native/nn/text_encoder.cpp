#include "nn/text_encoder.h"

#include <algorithm>
#include <utility>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/argmax.h>
#include <ATen/ops/cumsum.h>
#include <ATen/ops/index.h>
#include <ATen/ops/index_copy.h>
#include <ATen/ops/tensor.h>

#include "core/error.h"
#include "nn/text_names.h"
#include "ops/gradient.h"

namespace zoodip {
namespace {

constexpr std::int64_t end_of_text = 49407;

}  // namespace

TextEncoder::Block TextEncoder::load_block(const Loader& loader, const TextNames& names,
                                           std::int64_t index) {
    const TextNames::Layer at = names.layer(index);
    Block block{loader.layer_norm(at.norm1), loader.layer_norm(at.norm2), {},
                loader.linear(at.out),       loader.linear(at.fc1),       loader.linear(at.fc2)};
    if (names.joined) {
        block.in = {loader.linear(at.joined_weight, at.joined_bias)};
    } else {
        block.in = {loader.linear(at.q), loader.linear(at.k), loader.linear(at.v)};
    }
    return block;
}

TextEncoder::TextEncoder(const WeightSource& source, const LoadOptions& options,
                         TextEncoderSpec spec)
    : spec_(std::move(spec)), cancel_(options.cancel) {
    const Loader loader(source, options, Part::text_encoder);
    const TextNames names(spec_);
    token_table_ = loader.table(names.token_embedding);
    position_embedding_ = loader.parameter(names.position_embedding);
    layers_ = names.count_layers(source);
    require(layers_ >= spec_.layer, source.description(), ": the text encoder ", spec_.key, " has ",
            layers_, " layers, expected at least ", spec_.layer);
    const bool pooled = !spec_.projection.empty();
    for (std::int64_t i = 0; i < (pooled ? layers_ : layers_ - spec_.layer + 1); ++i) {
        blocks_.push_back(load_block(loader, names, i));
    }
    final_norm_ = loader.layer_norm(names.final_norm);
    if (pooled) projection_ = loader.projection(spec_.projection);
}

at::Tensor TextEncoder::token_vector(std::int64_t id) const {
    return token_table_.rows(at::tensor({id}, at::kLong)).squeeze(0).clone();
}

at::Tensor TextEncoder::own_padding(const at::Tensor& ids) const {
    if (spec_.pad == end_of_text) return ids;
    const at::Tensor ends = ids.eq(end_of_text);
    // Behind an end: where there was one before this position.
    const at::Tensor behind = (ends.to(at::kLong).cumsum(1) - ends.to(at::kLong)).gt(0);
    return ids.masked_fill(behind, spec_.pad);
}

at::Tensor TextEncoder::embed(const at::Tensor& ids, const TokenInjection& injection) const {
    const std::int64_t rows = injection.positions.empty()
                                  ? ids.size(0)
                                  : std::max(ids.size(0), injection.vectors.size(0));
    at::Tensor x = token_table_.rows(own_padding(ids)).expand({rows, -1, -1});
    if (!injection.positions.empty()) {
        const at::Tensor places = at::tensor(injection.positions, at::kLong).to(x.device());
        x = x.index_copy(1, places, injection.vectors.expand({rows, -1, -1}));
    }
    return x + position_embedding_.slice(0, 0, ids.size(1));
}

at::Tensor TextEncoder::attend(const Block& block, const at::Tensor& x) const {
    const at::Tensor h = block.norm1(x);
    std::vector<at::Tensor> in;
    for (const Linear& linear : block.in) in.push_back(linear(h));
    if (in.size() == 1) in = in.front().chunk(3, -1);
    return block.out(attention(in[0].contiguous(), in[1].contiguous(), in[2].contiguous(),
                               spec_.heads, /*causal=*/true));
}

at::Tensor TextEncoder::run_block(const Block& block, at::Tensor x) const {
    cancel_.check();
    x = x + attend(block, x);
    const at::Tensor h = block.fc1(block.norm2(x));
    return x +
           block.fc2(spec_.activation == TextActivation::gelu ? zoodip::gelu(h) : quick_gelu(h));
}

at::Tensor TextEncoder::run(at::Tensor x, std::int64_t first, std::int64_t end) const {
    for (std::int64_t i = first; i < end; ++i) {
        const Block& block = blocks_[static_cast<std::size_t>(i)];
        x = recomputed([this, &block](const Tensors& in) { return run_block(block, in[0]); }, {x});
    }
    return x;
}

TextOutput TextEncoder::forward(const at::Tensor& ids, const TokenInjection& injection,
                                std::int64_t clip_skip) const {
    require(ids.dim() == 2 && ids.size(1) <= position_embedding_.size(0),
            "text encoder: needs ids [rows, at most ", position_embedding_.size(0),
            " tokens], got ", concat(ids.sizes()));
    require(clip_skip >= 1 && clip_skip <= layers(), "clip skip: needs 1 to ", layers(), ", got ",
            clip_skip);
    const std::int64_t taken = layers() - spec_.layer_for(clip_skip) + 1;
    at::Tensor x = run(embed(ids, injection), 0, taken);
    TextOutput out{spec_.final_norm ? final_norm_(x) : x, {}};
    if (!projection_) return out;
    x = run(x, taken, layers());
    const at::Tensor ends = ids.eq(end_of_text).to(at::kInt).argmax(1).expand({x.size(0)});
    const at::Tensor rows = at::arange(x.size(0), ends.options());
    const at::Tensor states = at::index(x, {rows.to(x.device()), ends.to(x.device())});
    out.pooled = (*projection_)(final_norm_(states));
    return out;
}

}  // namespace zoodip
