// TAESD, the tiny autoencoder for SD latents (Ollin Boer Bohan, github.com/madebyollin/taesd):
// plain convolutions, ReLU and residual blocks in one numbered sequence.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "nn/vae.h"

namespace zoodip {

// The sequence under a prefix: gaps in the numbers are the layers without weights.
class TaesdStack {
  public:
    TaesdStack(const Loader& loader, const std::string& prefix, bool decoder);
    at::Tensor forward(at::Tensor x) const;

  private:
    struct Block {
        Conv2d conv1, conv2, conv3;
        std::optional<Linear> skip;
    };
    struct Relu {};
    struct Upsample {};
    using Layer = std::variant<Conv2d, Block, Relu, Upsample>;

    static at::Tensor run(const Layer& layer, const at::Tensor& x);

    CancelToken cancel_;
    std::vector<Layer> layers_;
};

class TaesdEncoder : public LatentEncoder {
  public:
    TaesdEncoder(const Loader& loader, double scale, double shift);
    Moments encode(const at::Tensor& pixels) const override;

  private:
    TaesdStack stack_;
    double scale_, shift_;
};

class TaesdDecoder : public LatentDecoder {
  public:
    TaesdDecoder(const Loader& loader, double scale, double shift);
    at::Tensor decode(const at::Tensor& z) const override;

  private:
    TaesdStack stack_;
    double scale_, shift_;
};

}  // namespace zoodip
