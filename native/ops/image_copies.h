// Copies between channels-last images, shared out among the threads of a run.
#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

namespace zoodip {

// [rows, channels, height, width], all in channels-last memory and of one type; either of `join`
// may have a single row, which then serves all. Their gradient is torch's.
at::Tensor join_channels(const at::Tensor& first, const at::Tensor& second);
at::Tensor upsample_nearest(const at::Tensor& x, std::int64_t height, std::int64_t width);

}  // namespace zoodip
