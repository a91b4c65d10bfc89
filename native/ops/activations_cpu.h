// The CPU kernels of activation functions, float32 or bfloat16: every number by itself, in float32.
#pragma once

#include <ATen/core/Tensor.h>

namespace zoodip {

// x sigmoid(1.702 x), and dL/dx of dy = dL/dy.
at::Tensor quick_gelu_cpu(const at::Tensor& x);
at::Tensor quick_gelu_cpu_backward(const at::Tensor& dy, const at::Tensor& x);

// The exact gelu, x (1 + erf(x / sqrt 2)) / 2, and dL/dx.
at::Tensor gelu_cpu(const at::Tensor& x);
at::Tensor gelu_cpu_backward(const at::Tensor& dy, const at::Tensor& x);

// [value, gate] -> value gelu(gate), halving the last dimension (exact gelu), and dL/dx.
at::Tensor geglu_cpu(const at::Tensor& x);
at::Tensor geglu_cpu_backward(const at::Tensor& dy, const at::Tensor& x);

}  // namespace zoodip
