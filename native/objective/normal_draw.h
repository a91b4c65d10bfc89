// Normal numbers as tensors.
#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

#include "core/random.h"

namespace zoodip {

// float32 of these sizes, N(0, 1), on the CPU: the numbers of RandomBlock(seed, stream, index).
at::Tensor draw_normal(at::IntArrayRef sizes, std::uint64_t seed, Stream stream,
                       std::uint64_t index);

}  // namespace zoodip
