#include "nn/taesd.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/tanh.h>
#include <ATen/ops/upsample_nearest2d.h>
#include <ATen/ops/zeros_like.h>

#include "core/error.h"

namespace zoodip {
namespace {

const std::string root = "first_stage_model.";

}  // namespace

TaesdStack::TaesdStack(const Loader& loader, const std::string& prefix, bool decoder)
    : cancel_(loader.options().cancel) {
    const auto has = [&](int i) {
        return loader.has(concat(prefix, i, ".weight")) ||
               loader.has(concat(prefix, i, ".conv.0.weight"));
    };
    // The decoder's layer 0 clamps and has no weights. Where a number is left out after that, the
    // first is the ReLU behind the first convolution; the others double the size.
    const int first = decoder ? 1 : 0;
    for (int i = first; has(i) || has(i + 1); ++i) {
        const std::string at = concat(prefix, i);
        if (loader.has(at + ".conv.0.weight")) {
            Block block{loader.conv2d(at + ".conv.0"), loader.conv2d(at + ".conv.2"),
                        loader.conv2d(at + ".conv.4"), std::nullopt};
            if (loader.has(at + ".skip.weight")) block.skip = loader.linear(at + ".skip");
            layers_.emplace_back(std::move(block));
        } else if (has(i)) {
            // The encoder's convolutions without a bias are the ones that halve the size.
            const bool halves = !decoder && !loader.has(at + ".bias");
            layers_.emplace_back(loader.conv2d(at, halves ? 2 : 1));
        } else if (layers_.size() == 1) {
            layers_.emplace_back(Relu{});
        } else {
            layers_.emplace_back(Upsample{});
        }
    }
    require(!layers_.empty(), loader.source().description(), ": has no '", prefix, first, "'");
}

at::Tensor TaesdStack::run(const Layer& layer, const at::Tensor& x) {
    if (const auto* conv = std::get_if<Conv2d>(&layer)) return (*conv)(x);
    if (std::holds_alternative<Relu>(layer)) return at::relu(x);
    if (std::holds_alternative<Upsample>(layer)) {
        return at::upsample_nearest2d(x, {2 * x.size(2), 2 * x.size(3)});
    }
    const Block& block = std::get<Block>(layer);
    const at::Tensor h = block.conv3(at::relu(block.conv2(at::relu(block.conv1(x)))));
    return at::relu(h + (block.skip ? block.skip->pointwise(x) : x));
}

at::Tensor TaesdStack::forward(at::Tensor x) const {
    x = x.contiguous(at::MemoryFormat::ChannelsLast);
    for (const Layer& layer : layers_) {
        cancel_.check();
        x = run(layer, x);
    }
    return x.contiguous();
}

TaesdEncoder::TaesdEncoder(const Loader& loader, double scale, double shift)
    : stack_(loader, root + "taesd_encoder.", false), scale_(scale), shift_(shift) {}

Moments TaesdEncoder::encode(const at::Tensor& pixels) const {
    const at::Tensor mean = scale_ * (stack_.forward((pixels + 1) / 2) - shift_);
    return {mean, at::zeros_like(mean)};
}

TaesdDecoder::TaesdDecoder(const Loader& loader, double scale, double shift)
    : stack_(loader, root + "taesd_decoder.", true), scale_(scale), shift_(shift) {}

at::Tensor TaesdDecoder::decode(const at::Tensor& z) const {
    const at::Tensor clamped = 3 * at::tanh((z / scale_ + shift_) / 3);
    return stack_.forward(clamped) * 2 - 1;
}

}  // namespace zoodip
