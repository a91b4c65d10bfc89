// The way back through the UNet can be stopped.
#include <map>
#include <string>

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include "core/cancel.h"
#include "nn/tensor_map.h"
#include "nn/unet.h"

namespace zoodip {
namespace {

constexpr std::int64_t width = 32;

// The weights of the smallest UNet that has every kind of block but those that change the size.
class Weights {
  public:
    std::map<std::string, at::Tensor> tensors;

    Weights() {
        linear("time_embed.0", width, width);
        linear("time_embed.2", width, width);
        add("input_blocks.0.0", {width, 4, 3, 3});
        res_block("input_blocks.1.0.", width);
        transformer("input_blocks.1.1.");
        res_block("middle_block.0.", width);
        transformer("middle_block.1.");
        res_block("middle_block.2.", width);
        for (const std::string block : {"output_blocks.0.", "output_blocks.1."}) {
            res_block(block + "0.", 2 * width);
            transformer(block + "1.");
        }
        norm("out.0", width);
        add("out.2", {4, width, 3, 3});
    }

  private:
    void add(const std::string& name, at::IntArrayRef sizes) {
        const auto seed = std::hash<std::string>{}(name);
        const double scale = std::sqrt(static_cast<double>(sizes[0]) /
                                       static_cast<double>(c10::multiply_integers(sizes)));
        put(name + ".weight", at::randn(sizes, at::detail::createCPUGenerator(seed)) * scale);
        put(name + ".bias", at::zeros({sizes[0]}));
    }
    void linear(const std::string& name, std::int64_t out, std::int64_t in) {
        add(name, {out, in});
    }
    void norm(const std::string& name, std::int64_t channels) {
        put(name + ".weight", at::ones({channels}));
        put(name + ".bias", at::zeros({channels}));
    }
    void put(const std::string& name, const at::Tensor& tensor) {
        tensors["model.diffusion_model." + name] = tensor;
    }
    void res_block(const std::string& at, std::int64_t in) {
        norm(at + "in_layers.0", in);
        add(at + "in_layers.2", {width, in, 3, 3});
        linear(at + "emb_layers.1", width, width);
        norm(at + "out_layers.0", width);
        add(at + "out_layers.3", {width, width, 3, 3});
        if (in != width) add(at + "skip_connection", {width, in, 1, 1});
    }
    void transformer(const std::string& at) {
        norm(at + "norm", width);
        add(at + "proj_in", {width, width, 1, 1});
        add(at + "proj_out", {width, width, 1, 1});
        const std::string block = at + "transformer_blocks.0.";
        for (const std::string i : {"1", "2", "3"}) norm(block + "norm" + i, width);
        for (const std::string attention : {"attn1.", "attn2."}) {
            for (const std::string part : {"to_q", "to_k", "to_v", "to_out.0"}) {
                linear(block + attention + part, width, width);
            }
        }
        linear(block + "ff.net.0.proj", 8 * width, width);
        linear(block + "ff.net.2", width, 4 * width);
    }
};

at::Tensor random(at::IntArrayRef sizes, std::uint64_t seed) {
    return at::randn(sizes, at::detail::createCPUGenerator(seed));
}

TEST(UNetGradient, IsStoppedOnItsWayBack) {
    LoadOptions options;
    const UNet unet(TensorMap(Weights().tensors), options, HeadRule{.count = 2});
    const at::AutoGradMode recording(true);
    const at::Tensor context = random({1, 7, width}, 1).set_requires_grad(true);
    const at::Tensor sample = random({1, 4, 8, 8}, 2), timesteps = at::full({1}, 500.0f);
    const auto output = [&] { return unet.forward(sample, timesteps, {context, std::nullopt}); };
    EXPECT_GT(gradient_of(output().sum(), context).norm().item<double>(), 0);

    const at::Tensor last = output();
    // The gradient's first step: every block of the forward pass has run.
    last.register_hook([&](const at::Tensor&) { options.cancel.cancel(); });
    EXPECT_THROW(gradient_of(last.sum(), context), Cancelled);
}

}  // namespace
}  // namespace zoodip
