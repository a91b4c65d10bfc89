#include "nn/transformer.h"

#include <ATen/TensorOperators.h>

#include "core/error.h"
#include "ops/image_copies.h"

namespace zoodip {

SpatialTransformer::Attention SpatialTransformer::load_attention(const Loader& loader,
                                                                 const std::string& prefix) {
    return {loader.linear(prefix + ".to_q"), loader.linear(prefix + ".to_k"),
            loader.linear(prefix + ".to_v"), loader.linear(prefix + ".to_out.0")};
}

SpatialTransformer::SpatialTransformer(const Loader& loader, const std::string& prefix,
                                       HeadRule heads)
    : heads_(heads.of(loader.size(prefix + "norm.weight", 0))),
      stream_(stream_type(loader.options().compute, loader.options().device)),
      rounded_(rounded_type(loader.options().compute, loader.options().device)),
      cancel_(loader.options().cancel),
      norm_(loader.group_norm(prefix + "norm", 1e-6)),
      proj_in_(loader.linear(prefix + "proj_in")),
      proj_out_(loader.linear(prefix + "proj_out")) {
    for (int i = 0;; ++i) {
        const std::string at = concat(prefix, "transformer_blocks.", i, ".");
        if (!loader.has(at + "norm1.weight")) break;
        blocks_.push_back({loader.layer_norm(at + "norm1"), loader.layer_norm(at + "norm2"),
                           loader.layer_norm(at + "norm3"), load_attention(loader, at + "attn1"),
                           load_attention(loader, at + "attn2"),
                           loader.linear(at + "ff.net.0.proj"), loader.linear(at + "ff.net.2")});
    }
}

at::Tensor SpatialTransformer::attend(const Attention& a, const at::Tensor& x,
                                      const at::Tensor& context, const at::Tensor& residual) const {
    cancel_.check();
    const at::Tensor y = attention(a.q(x), a.k(context), a.v(context), heads_);
    return a.out(y, {.residual = residual, .out = stream_});
}

at::Tensor SpatialTransformer::forward(const at::Tensor& x, const at::Tensor& context) const {
    const std::int64_t channels = x.size(1), height = x.size(2), width = x.size(3);
    // Channels-last memory is [rows, pixels, channels] already: both reshapes are views.
    const auto tokens = [&](const at::Tensor& image) {
        return image.permute({0, 2, 3, 1}).reshape({image.size(0), height * width, channels});
    };
    at::Tensor h = proj_in_(norm_(x));
    const at::Tensor text = context.to(rounded_);
    for (const Block& block : blocks_) {
        const at::Tensor normed = block.norm1(h, rounded_);
        // What the text does not reach yet is computed once for all rows of a sample.
        h = rows_in_turn(attend(block.self, normed, normed, h), text.size(0));
        h = attend(block.cross, block.norm2(h, rounded_), text, h);
        const at::Tensor gated = block.feed1(block.norm3(h, rounded_), {.geglu = true});
        h = block.feed2(gated, {.residual = h, .out = stream_});
    }
    h = proj_out_(h, {.residual = rows_in_turn(tokens(x), text.size(0))});
    return h.view({h.size(0), height, width, channels}).permute({0, 3, 1, 2});
}

}  // namespace zoodip
