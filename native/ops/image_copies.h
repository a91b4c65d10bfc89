// Copies between channels-last images, shared out among the threads of a run.
#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

namespace zoodip {

// [rows, channels, height, width], all in channels-last memory and of one type; either of `join`
// may have a single row, which then serves all. Their gradient is torch's.
at::Tensor join_channels(const at::Tensor& first, const at::Tensor& second);
at::Tensor upsample_nearest(const at::Tensor& x, std::int64_t height, std::int64_t width);

// Rows first, first + 1, ..., first + count - 1 of `rows` in which each row of x stands for as many
// in turn: of two rows for six, 0 0 0 1 1 1. A single row is given as it is, for it serves all.
// Throws Error unless x's rows divide `rows`.
at::Tensor rows_in_turn(const at::Tensor& x, std::int64_t rows, std::int64_t first,
                        std::int64_t count);
at::Tensor rows_in_turn(const at::Tensor& x, std::int64_t rows);  // all of them

}  // namespace zoodip
