#include "nn/autoencoder_kl.h"

#include <algorithm>

#include <ATen/TensorOperators.h>
#include <ATen/ops/constant_pad_nd.h>

#include "core/error.h"
#include "ops/image_copies.h"

namespace zoodip {
namespace {

constexpr double eps = 1e-6;
const std::string root = "first_stage_model.";

VaeResBlock load_res_block(const Loader& loader, const std::string& prefix) {
    VaeResBlock block{loader.group_norm(prefix + "norm1", eps),
                      loader.group_norm(prefix + "norm2", eps), loader.conv2d(prefix + "conv1"),
                      loader.conv2d(prefix + "conv2"), std::nullopt};
    if (loader.has(prefix + "nin_shortcut.weight")) {
        block.skip = loader.linear(prefix + "nin_shortcut");
    }
    return block;
}

VaeMiddle load_middle(const Loader& loader, const std::string& prefix) {
    const std::string at = prefix + "attn_1.";
    return {load_res_block(loader, prefix + "block_1."),
            {loader.group_norm(at + "norm", eps), loader.linear(at + "q"), loader.linear(at + "k"),
             loader.linear(at + "v"), loader.linear(at + "proj_out")},
            load_res_block(loader, prefix + "block_2.")};
}

// resample is "downsample" (stride 2, padded by hand) or "upsample".
std::vector<VaeLevel> load_levels(const Loader& loader, const std::string& prefix,
                                  const std::string& resample) {
    const bool down = resample == "downsample";
    std::vector<VaeLevel> levels;
    for (int i = 0; loader.has(concat(prefix, i, ".block.0.norm1.weight")); ++i) {
        VaeLevel level;
        for (int j = 0; loader.has(concat(prefix, i, ".block.", j, ".norm1.weight")); ++j) {
            level.blocks.push_back(load_res_block(loader, concat(prefix, i, ".block.", j, ".")));
        }
        const std::string name = concat(prefix, i, ".", resample, ".conv");
        if (loader.has(name + ".weight")) {
            level.resample = loader.conv2d(name, down ? 2 : 1, down ? 0 : 1);
        }
        levels.push_back(std::move(level));
    }
    require(!levels.empty(), loader.source().description(), ": has no '", prefix, "0'");
    return levels;
}

std::optional<Linear> optional_linear(const Loader& loader, const std::string& name) {
    if (!loader.has(name + ".weight")) return std::nullopt;
    return loader.linear(name);
}

at::Tensor run_blocks(const VaeLevel& level, at::Tensor x, const CancelToken& cancel) {
    for (const VaeResBlock& block : level.blocks) {
        cancel.check();
        x = block.forward(x);
    }
    return x;
}

}  // namespace

at::Tensor VaeResBlock::forward(const at::Tensor& x) const {
    // Between the two it is kept as the second will round it: at this size memory is what takes
    // time.
    const at::ScalarType between = conv2.weight.input_type(x.scalar_type());
    const at::Tensor h = conv1(norm1.silu(x), {.out = between});
    return conv2(norm2.silu(h),
                 {.residual = skip ? skip->pointwise(x) : x, .out = x.scalar_type()});
}

at::Tensor VaeAttention::forward(const at::Tensor& x) const {
    const std::int64_t height = x.size(2), width = x.size(3);
    const at::Tensor h = group_norm(norm(x)).permute({0, 2, 3, 1}).flatten(1, 2);
    const at::Tensor y = out(attention(q(h), k(h), v(h), 1));
    return x + y.view({x.size(0), height, width, x.size(1)}).permute({0, 3, 1, 2});
}

at::Tensor VaeMiddle::forward(const at::Tensor& x, const CancelToken& cancel) const {
    cancel.check();
    const at::Tensor h = attention.forward(block1.forward(x));
    cancel.check();
    return block2.forward(h);
}

KlEncoder::KlEncoder(const Loader& loader, double scale, double shift)
    : scale_(scale),
      shift_(shift),
      cancel_(loader.options().cancel),
      conv_in_(loader.conv2d(root + "encoder.conv_in")),
      conv_out_(loader.conv2d(root + "encoder.conv_out")),
      levels_(load_levels(loader, root + "encoder.down.", "downsample")),
      middle_(load_middle(loader, root + "encoder.mid.")),
      norm_out_(loader.group_norm(root + "encoder.norm_out", eps)),
      quant_(optional_linear(loader, root + "quant_conv")) {}

Moments KlEncoder::encode(const at::Tensor& pixels) const {
    at::Tensor x = conv_in_(pixels.contiguous(at::MemoryFormat::ChannelsLast));
    for (const VaeLevel& level : levels_) {
        x = run_blocks(level, x, cancel_);
        // One more row and column of zeros at the end, none at the start, as the original has it.
        if (level.resample) x = (*level.resample)(at::constant_pad_nd(x, {0, 1, 0, 1}));
    }
    x = conv_out_(norm_out_.silu(middle_.forward(x, cancel_)));
    if (quant_) x = quant_->pointwise(x);
    const auto halves = x.chunk(2, 1);
    const at::Tensor deviation = (0.5 * halves[1].clamp(-30.0, 20.0)).exp();
    return {(scale_ * (halves[0] - shift_)).contiguous(), (scale_ * deviation).contiguous()};
}

KlDecoder::KlDecoder(const Loader& loader, double scale, double shift)
    : scale_(scale),
      shift_(shift),
      cancel_(loader.options().cancel),
      conv_in_(loader.conv2d(root + "decoder.conv_in")),
      conv_out_(loader.conv2d(root + "decoder.conv_out")),
      levels_(load_levels(loader, root + "decoder.up.", "upsample")),
      middle_(load_middle(loader, root + "decoder.mid.")),
      norm_out_(loader.group_norm(root + "decoder.norm_out", eps)),
      post_quant_(optional_linear(loader, root + "post_quant_conv")) {
    std::reverse(levels_.begin(), levels_.end());
}

at::Tensor KlDecoder::decode(const at::Tensor& z) const {
    at::Tensor x = (z / scale_ + shift_).contiguous(at::MemoryFormat::ChannelsLast);
    if (post_quant_) x = post_quant_->pointwise(x);
    x = middle_.forward(conv_in_(x), cancel_);
    for (const VaeLevel& level : levels_) {
        x = run_blocks(level, x, cancel_);
        if (level.resample) {
            x = (*level.resample)(upsample_nearest(x, 2 * x.size(2), 2 * x.size(3)));
        }
    }
    return conv_out_(norm_out_.silu(x)).contiguous();
}

}  // namespace zoodip
