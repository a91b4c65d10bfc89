// The KL autoencoder of latent diffusion (Rombach et al. 2022), structure read off the names.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "nn/vae.h"

namespace zoodip {

// Building blocks that encoder and decoder share.
struct VaeResBlock {
    GroupNorm norm1, norm2;
    Conv2d conv1, conv2;
    std::optional<Linear> skip;
    at::Tensor forward(const at::Tensor& x) const;
};

struct VaeAttention {
    GroupNorm norm;
    Linear q, k, v, out;
    at::Tensor forward(const at::Tensor& x) const;
};

struct VaeMiddle {
    VaeResBlock block1;
    VaeAttention attention;
    VaeResBlock block2;
    at::Tensor forward(const at::Tensor& x, const CancelToken& cancel) const;
};

struct VaeLevel {
    std::vector<VaeResBlock> blocks;
    std::optional<Conv2d> resample;
};

class KlEncoder : public LatentEncoder {
  public:
    KlEncoder(const Loader& loader, double scale, double shift);
    Moments encode(const at::Tensor& pixels) const override;

  private:
    double scale_, shift_;
    CancelToken cancel_;
    Conv2d conv_in_, conv_out_;
    std::vector<VaeLevel> levels_;
    VaeMiddle middle_;
    GroupNorm norm_out_;
    std::optional<Linear> quant_;
};

class KlDecoder : public LatentDecoder {
  public:
    KlDecoder(const Loader& loader, double scale, double shift);
    at::Tensor decode(const at::Tensor& z) const override;

  private:
    double scale_, shift_;
    CancelToken cancel_;
    Conv2d conv_in_, conv_out_;
    std::vector<VaeLevel> levels_;  // in the order they run
    VaeMiddle middle_;
    GroupNorm norm_out_;
    std::optional<Linear> post_quant_;
};

}  // namespace zoodip
