#include "nn/unet.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <tuple>
#include <utility>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/silu.h>

#include "core/error.h"
#include "ops/image_copies.h"

namespace zoodip {
namespace {

constexpr const char* root = "model.diffusion_model.";

// Rows pass through a layer together up to so many pixels: enough for all threads. Weights are
// unpacked once for them; of more, what lies between a layer's products would only take memory.
constexpr std::int64_t pixels_together = 4096;

// How many there are where each input has its own, or each of its rows serves as many in turn.
std::int64_t rows_of(const Tensors& inputs) {
    std::int64_t rows = 1;
    for (const at::Tensor& x : inputs) rows = std::max(rows, x.size(0));
    return rows;
}

}  // namespace

// What a block is run with and does not change.
struct UNet::Fixed {
    std::pair<std::int64_t, std::int64_t> size{};  // height and width to upsample to
};

struct UNet::State {
    at::Tensor x;
    at::Tensor context;
    at::Tensor embedding;  // SiLU of what time and vector conditioning are embedded as
    at::Tensor skip;       // what the next layer takes beside x, if anything
    Fixed fixed;
};

at::Tensor timestep_embedding(const at::Tensor& timesteps, std::int64_t width) {
    const std::int64_t half = width / 2;
    const at::Tensor exponent =
        at::arange(half, timesteps.options()) * (-std::log(10000.0) / static_cast<double>(half));
    const at::Tensor angle = timesteps.unsqueeze(1) * exponent.exp().unsqueeze(0);
    return at::cat({angle.cos(), angle.sin()}, 1);
}

std::int64_t count_downsamples(const WeightSource& source) {
    std::int64_t count = 0;
    for (const WeightInfo& info : source.list()) {
        count += info.name.starts_with(concat(root, "input_blocks.")) &&
                 info.name.ends_with(".0.op.weight");
    }
    return count;
}

at::Tensor UNet::ResBlock::forward(const at::Tensor& x, const at::Tensor& embedding) const {
    const at::Tensor shift = time(embedding).to(at::kFloat);
    const at::Tensor h =
        conv1(norm1.silu(x), {.shift = shift.size(0) == 1 ? shift.squeeze(0) : shift});
    return conv2(norm2.silu(h), {.residual = skip ? skip->pointwise(x) : x});
}

UNet::ResBlock UNet::load_res_block(const Loader& loader, const std::string& prefix) {
    ResBlock block{loader.group_norm(prefix + "in_layers.0", 1e-5),
                   loader.group_norm(prefix + "out_layers.0", 1e-5),
                   loader.conv2d(prefix + "in_layers.2"),
                   loader.conv2d(prefix + "out_layers.3"),
                   loader.linear(prefix + "emb_layers.1"),
                   std::nullopt};
    if (loader.has(prefix + "skip_connection.weight")) {
        block.skip = loader.linear(prefix + "skip_connection");
    }
    return block;
}

UNet::Block UNet::load_block(const Loader& loader, const std::string& prefix, HeadRule heads) {
    Block block;
    for (int i = 0;; ++i) {
        const std::string at = concat(prefix, i, ".");
        if (loader.has(at + "in_layers.0.weight")) {
            block.emplace_back(load_res_block(loader, at));
        } else if (loader.has(at + "proj_in.weight")) {
            block.emplace_back(SpatialTransformer(loader, at, heads));
        } else if (loader.has(at + "op.weight")) {
            block.emplace_back(Downsample{loader.conv2d(at + "op", 2, 1)});
        } else if (loader.has(at + "conv.weight")) {
            block.emplace_back(Upsample{loader.conv2d(at + "conv")});
        } else if (loader.has(at + "weight")) {
            block.emplace_back(loader.conv2d(concat(prefix, i)));
        } else {
            return block;
        }
    }
}

UNet::UNet(const WeightSource& source, const LoadOptions& options, HeadRule heads)
    : cancel_(options.cancel),
      stream_(stream_type(options.compute, options.device)),
      activations_(options.activations) {
    const Loader loader(source, options, Part::unet);
    const std::string base = root;
    time1_ = loader.linear(base + "time_embed.0");
    time2_ = loader.linear(base + "time_embed.2");
    model_channels_ = time1_.weight.in_features();
    if (loader.has(base + "label_emb.0.0.weight")) {
        label1_ = loader.linear(base + "label_emb.0.0");
        label2_ = loader.linear(base + "label_emb.0.2");
    }
    const auto load_all = [&](const std::string& name) {
        std::vector<Block> blocks;
        for (int i = 0;; ++i) {
            Block block = load_block(loader, concat(base, name, ".", i, "."), heads);
            if (block.empty()) return blocks;
            blocks.push_back(std::move(block));
        }
    };
    input_blocks_ = load_all("input_blocks");
    middle_block_ = load_block(loader, base + "middle_block.", heads);
    output_blocks_ = load_all("output_blocks");
    require(!input_blocks_.empty() && input_blocks_.size() == output_blocks_.size(),
            source.description(), ": the UNet has ", input_blocks_.size(), " input blocks and ",
            output_blocks_.size(), " output blocks, expected as many of each");
    out_norm_ = loader.group_norm(base + "out.0", 1e-5);
    out_conv_ = loader.conv2d(base + "out.2");
}

std::int64_t UNet::rows_together(std::int64_t height, std::int64_t width, std::int64_t rows) {
    return std::clamp<std::int64_t>(pixels_together / (height * width), 1, rows);
}

at::Tensor UNet::run_by_rows(const Layer& layer, const Fixed& fixed, const Tensors& in) const {
    const std::int64_t rows = rows_of(in);
    std::int64_t height = in[0].size(2), width = in[0].size(3);
    if (std::holds_alternative<Upsample>(layer)) std::tie(height, width) = fixed.size;
    require(height > 0 && width > 0,
            "unet: pictures of 0 pixels; the last output block must not be an upsampling one");
    const std::int64_t together = rows_together(height, width, rows);
    if (rows == together || tracked(in) || !in[0].is_cpu()) return run_layer(layer, fixed, in);
    at::Tensor out;
    for (std::int64_t first = 0; first < rows; first += together) {
        const std::int64_t count = std::min(together, rows - first);
        Tensors own;
        for (const at::Tensor& x : in) own.push_back(rows_in_turn(x, rows, first, count));
        const at::Tensor y = run_layer(layer, fixed, own);
        if (!out.defined()) {
            out = at::empty({rows, y.size(1), y.size(2), y.size(3)}, y.options(),
                            at::MemoryFormat::ChannelsLast);
        }
        out.narrow(0, first, y.size(0)).copy_(y);
    }
    return out;
}

at::Tensor UNet::run_layer(const Layer& layer, const Fixed& fixed, const Tensors& in) const {
    cancel_.check();
    if (const auto* transformer = std::get_if<SpatialTransformer>(&layer)) {
        return transformer->forward(in[0], in[1].to(stream_));
    }
    const std::int64_t rows = rows_of(in);
    const auto own = [&](std::size_t i) { return rows_in_turn(in[i], rows); };
    if (const auto* res = std::get_if<ResBlock>(&layer)) {
        return res->forward(in.size() == 2 ? own(0) : join_channels(own(0), own(2)), own(1));
    }
    const at::Tensor x = in.size() == 1 ? in[0] : join_channels(own(0), own(1));
    if (const auto* down = std::get_if<Downsample>(&layer)) return down->conv(x);
    if (const auto* up = std::get_if<Upsample>(&layer)) {
        return up->conv(upsample_nearest(x, fixed.size.first, fixed.size.second));
    }
    return std::get<Conv2d>(layer)(x);
}

void UNet::run(const Block& block, State& state) const {
    for (const Layer& layer : block) {
        Tensors inputs{state.x};
        if (std::holds_alternative<SpatialTransformer>(layer)) inputs.push_back(state.context);
        if (std::holds_alternative<ResBlock>(layer)) inputs.push_back(state.embedding);
        if (state.skip.defined()) inputs.push_back(std::exchange(state.skip, {}));
        const auto step = [this, &layer, fixed = state.fixed](const Tensors& in) {
            return run_by_rows(layer, fixed, in);
        };
        state.x = recomputed(step, inputs);
    }
}

at::Tensor UNet::embedding_of(const at::Tensor& timesteps, const Conditioning& conditioning) const {
    require(conditioning.y.has_value() == label1_.has_value(), "unet: ",
            label1_ ? "needs vector conditioning, got none" : "takes no vector conditioning");
    const at::Tensor time =
        time2_(at::silu(time1_(timestep_embedding(timesteps, model_channels_).to(stream_))));
    if (!label1_) return time;
    const at::Tensor& y = *conditioning.y;
    require(y.dim() == 2 && y.size(1) == label1_->weight.in_features(),
            "unet: needs vector conditioning [rows, ", label1_->weight.in_features(), "], got ",
            concat(y.sizes()));
    return rows_in_turn(time, y.size(0)) + (*label2_)(at::silu((*label1_)(y.to(stream_))));
}

at::Tensor UNet::forward(const at::Tensor& sample, const at::Tensor& timesteps,
                         const Conditioning& conditioning) const {
    require(sample.dim() == 4, "unet: needs a sample [rows, channels, height, width], got ",
            concat(sample.sizes()));
    const std::int64_t samples = std::max(sample.size(0), timesteps.size(0));
    const std::int64_t rows = conditioning.context.size(0);
    require(samples > 0 && rows % samples == 0, "unet: ", samples, " samples do not serve ", rows,
            " rows of conditioning");
    if (activations_) {
        const double first = timesteps[0].item<double>();
        require((timesteps == first).all().item<bool>(),
                "unet: integer activations take one timestep at a time");
        activations_->set_timestep(first);
    }
    State state{sample.to(stream_).contiguous(at::MemoryFormat::ChannelsLast),
                conditioning.context,
                at::silu(embedding_of(timesteps, conditioning)),
                {},
                {}};
    std::vector<at::Tensor> skips;
    for (const Block& block : input_blocks_) {
        run(block, state);
        skips.push_back(state.x);
    }
    run(middle_block_, state);
    for (const Block& block : output_blocks_) {
        state.skip = std::move(skips.back());
        skips.pop_back();
        if (!skips.empty()) state.fixed.size = {skips.back().size(2), skips.back().size(3)};
        run(block, state);
    }
    return out_conv_(out_norm_.silu(state.x)).to(at::kFloat);
}

}  // namespace zoodip
