// Whether weights are numbers: the check that every tensor of a file goes through.
#pragma once

#include <ATen/core/Tensor.h>

namespace zoodip {

// False when a number is NaN or infinite. x: floating point.
bool all_finite(const at::Tensor& x);

}  // namespace zoodip
