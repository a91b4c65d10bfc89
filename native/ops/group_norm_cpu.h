// The CPU kernel of group_norm, for channels-last activations.
//
// ATen's own splits the sums of a row between threads at a place that depends on the number of
// rows, so that a row's bits depend on its position. Here one thread sums one (row, group).
#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

namespace zoodip {

// As group_norm in layers.h; x: float32 or bfloat16 on the CPU. Returns channels-last memory.
at::Tensor group_norm_cpu(const at::Tensor& x, std::int64_t groups, const at::Tensor& weight,
                          const at::Tensor& bias, double eps, bool silu);

// dL/dx from dy = dL/dy, both of x's shape and type; statistics and the value under the SiLU are
// computed again. The bias matters to the SiLU's slope alone.
at::Tensor group_norm_cpu_backward(const at::Tensor& dy, const at::Tensor& x, std::int64_t groups,
                                   const at::Tensor& weight, const at::Tensor& bias, double eps,
                                   bool silu);

}  // namespace zoodip
