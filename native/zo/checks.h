// What the functions of this folder ask of the tensors that they are given.
#pragma once

#include <string>

#include <ATen/core/Tensor.h>

#include "core/error.h"

namespace zoodip {

// A tensor as messages name it, for example "Float [2, 768] on cpu".
inline std::string describe_tensor(const at::Tensor& x) {
    return concat(x.scalar_type(), " ", x.sizes(), " on ", x.device());
}

// Throws Error unless x is float32 [d] on the CPU.
inline void require_vector(const char* op, const char* name, const at::Tensor& x, std::int64_t d) {
    require(x.dim() == 1 && x.size(0) == d && x.scalar_type() == at::kFloat && x.is_cpu(), op,
            ": needs ", name, " as float32 [", d, "] on the CPU, got ", describe_tensor(x));
}

}  // namespace zoodip
