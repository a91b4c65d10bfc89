// The CPU kernel of layer_norm: every row of channels by itself, in one order of sums.
#pragma once

#include <ATen/core/Tensor.h>

namespace zoodip {

// LayerNorm over the last dimension of x, float32 or bfloat16, its memory in order. weight, bias:
// float32 [channels]. Of x's shape and of type `out`, float32 or bfloat16. Means are those of
// float32 sums in 16 lanes, off by at most channels / 16 roundings of a lane.
at::Tensor layer_norm_cpu(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                          double eps, at::ScalarType out);

// dL/dx from dy = dL/dy, both of x's shape and type; the statistics are computed again.
at::Tensor layer_norm_cpu_backward(const at::Tensor& dy, const at::Tensor& x,
                                   const at::Tensor& weight, double eps);

}  // namespace zoodip
