// The products of a network: Linear and Conv2d over frozen weights, attention, norms, activations.
// Activations are [rows, tokens, channels], or [rows, channels, height, width] in channels-last
// memory. In every function a row's result has the same bits at any position among the rows and
// beside any neighbours. Under grad mode, every result has its gradient in the activations that ask
// for one (parameters are constants); of frozen weights a graph keeps the handle alone, and of
// attention no score matrix.
#pragma once

#include <cstdint>
#include <optional>

#include <ATen/core/Tensor.h>

#include "ops/frozen_weight.h"
#include "ops/group_normed.h"

namespace zoodip {

// What becomes of a product before it is written: where a kernel can, in the same pass.
struct Finish {
    at::Tensor residual{};  // of the result's shape, or with one row for all: added
    at::Tensor shift{};     // float32 [out], or [rows, out] for each row its own: added to the bias
    // The halves of the channels are value and gate: value * gelu(gate), half as wide.
    bool geglu = false;
    std::optional<at::ScalarType> out{};  // the result's type; x's own where it is not given
};

// y = x W^T + b. x: [..., in] -> [..., out]. bias may be undefined.
at::Tensor linear(const at::Tensor& x, const FrozenWeight& weight, const at::Tensor& bias,
                  const Finish& finish = {});

// x: [rows, in, height, width] -> [rows, out, height', width'], channels-last, zero padding.
at::Tensor conv2d(const at::Tensor& x, const FrozenWeight& weight, const at::Tensor& bias,
                  std::int64_t stride, std::int64_t padding, const Finish& finish = {});

// The same of a norm's result, which on the CPU is written nowhere but where the product reads it.
// conv2d as above; linear over the channels of every pixel: -> [rows, height * width, out].
at::Tensor conv2d(const GroupNormed& x, const FrozenWeight& weight, const at::Tensor& bias,
                  std::int64_t stride, std::int64_t padding, const Finish& finish = {});
at::Tensor linear(const GroupNormed& x, const FrozenWeight& weight, const at::Tensor& bias,
                  const Finish& finish = {});

// softmax(q k^T / sqrt(head width)) v. q: [rows, tokens, channels], k and v:
// [rows, keys, channels]; either side may have a single row, which then serves all.
at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     std::int64_t heads, bool causal = false);

// Of x's shape and type.
at::Tensor group_norm(const GroupNormed& norm);

// LayerNorm over the last dimension, of x's type or of `out`. weight, bias: float32 [channels].
at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                      double eps, std::optional<at::ScalarType> out = {});

// x * sigmoid(1.702 x), the activation of OpenAI's CLIP.
at::Tensor quick_gelu(const at::Tensor& x);

// x (1 + erf(x / sqrt 2)) / 2, the activation of OpenCLIP.
at::Tensor gelu(const at::Tensor& x);

// [value, gate] -> value * gelu(gate), halving the last dimension (exact gelu).
at::Tensor geglu(const at::Tensor& x);

}  // namespace zoodip
