// The UNet of latent diffusion, of any width and depth: its structure is read off the names.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <variant>
#include <vector>

#include <ATen/core/Tensor.h>

#include "nn/family.h"
#include "nn/loader.h"
#include "nn/transformer.h"
#include "ops/gradient.h"

namespace zoodip {

struct Conditioning {
    at::Tensor context;  // [rows, tokens, context width]: encoder_hidden_states
    // Vector conditioning, float32 [rows, width], of a UNet with label_emb; no other has one.
    std::optional<at::Tensor> y = {};
};

class UNet {
  public:
    // Weights under model.diffusion_model.
    UNet(const WeightSource& source, const LoadOptions& options, HeadRule heads);

    // sample: float32 [samples, in_channels, height, width]; timesteps: float32 [samples]; both may
    // have a single row, which then serves all. Of the conditioning's rows, a multiple of the
    // samples, each sample serves as many in turn, and what does not depend on the conditioning is
    // computed once for them. Activations of integers, whose scales are those of a timestep, take
    // one timestep at a time. Returns float32 [rows, out_channels, height, width].
    // Throws Cancelled within one block after cancellation.
    // Under grad mode differentiable in the conditioning. No graph is kept, but what goes into each
    // block, which is computed again on the way back: nothing before the first one that the
    // conditioning reaches is touched there.
    at::Tensor forward(const at::Tensor& sample, const at::Tensor& timesteps,
                       const Conditioning& conditioning) const;

    // How many of `rows` pass through a layer of so many pixels together on the CPU.
    static std::int64_t rows_together(std::int64_t height, std::int64_t width, std::int64_t rows);

    // For ComputeType::int8, the scales of the layers' inputs; nullptr for other types. Until they
    // are calibrated, products are those of the type beside.
    Activations* activations() const { return activations_.get(); }

  private:
    struct ResBlock {
        GroupNorm norm1, norm2;
        Conv2d conv1, conv2;
        Linear time;
        std::optional<Linear> skip;  // 1x1, where the width changes
        at::Tensor forward(const at::Tensor& x, const at::Tensor& embedding) const;
    };
    struct Downsample {
        Conv2d conv;
    };
    struct Upsample {
        Conv2d conv;
    };
    using Layer = std::variant<Conv2d, ResBlock, SpatialTransformer, Downsample, Upsample>;
    using Block = std::vector<Layer>;
    struct Fixed;
    struct State;

    static ResBlock load_res_block(const Loader& loader, const std::string& prefix);
    static Block load_block(const Loader& loader, const std::string& prefix, HeadRule heads);
    at::Tensor embedding_of(const at::Tensor& timesteps, const Conditioning& conditioning) const;
    void run(const Block& block, State& state) const;
    at::Tensor run_by_rows(const Layer& layer, const Fixed& fixed, const Tensors& in) const;
    at::Tensor run_layer(const Layer& layer, const Fixed& fixed, const Tensors& in) const;

    CancelToken cancel_;
    at::ScalarType stream_;  // of what goes from layer to layer
    std::shared_ptr<Activations> activations_;
    std::int64_t model_channels_ = 0;
    Linear time1_, time2_;
    std::optional<Linear> label1_, label2_;
    std::vector<Block> input_blocks_, output_blocks_;
    Block middle_block_;
    GroupNorm out_norm_;
    Conv2d out_conv_;
};

// How often the UNet halves its input: height and width must be multiples of 2^this.
std::int64_t count_downsamples(const WeightSource& source);

// sinusoidal embedding [cos, sin] of timesteps [rows] -> [rows, width] (Ho et al. 2020, with the
// base 10000 and SD's order).
at::Tensor timestep_embedding(const at::Tensor& timesteps, std::int64_t width);

}  // namespace zoodip
