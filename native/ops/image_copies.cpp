#include "ops/image_copies.h"

#include <algorithm>
#include <cstring>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/upsample_nearest2d.h>

#include "core/error.h"
#include "ops/gradient.h"
#include "ops/parallel.h"

namespace zoodip {
namespace {

at::Tensor ordered(const at::Tensor& x) {
    return x.contiguous(at::MemoryFormat::ChannelsLast);
}

at::Tensor empty_image(const at::Tensor& like, at::IntArrayRef sizes) {
    return at::empty(sizes, like.options(), at::MemoryFormat::ChannelsLast);
}

const char* bytes_of(const at::Tensor& x) {
    return static_cast<const char*>(x.const_data_ptr());
}

}  // namespace

at::Tensor join_channels(const at::Tensor& first, const at::Tensor& second) {
    const std::int64_t rows = std::max(first.size(0), second.size(0));
    if (!first.is_cpu() || tracked({first, second})) {
        return at::cat({first.expand({rows, -1, -1, -1}), second.expand({rows, -1, -1, -1})}, 1);
    }
    require(first.scalar_type() == second.scalar_type() &&
                first.sizes().slice(2) == second.sizes().slice(2) &&
                std::min(first.size(0), second.size(0)) > 0 &&
                (first.size(0) == rows || first.size(0) == 1) &&
                (second.size(0) == rows || second.size(0) == 1),
            "join: ", concat(first.sizes()), " and ", concat(second.sizes()), " do not fit");
    const at::Tensor a = ordered(first), b = ordered(second);
    at::Tensor y = empty_image(a, {rows, a.size(1) + b.size(1), a.size(2), a.size(3)});
    const std::int64_t pixels = a.size(2) * a.size(3);
    const std::size_t a_bytes = static_cast<std::size_t>(a.size(1)) * a.element_size();
    const std::size_t b_bytes = static_cast<std::size_t>(b.size(1)) * b.element_size();
    const char *from_a = bytes_of(a), *from_b = bytes_of(b);
    char* to = static_cast<char*>(y.data_ptr());
    parallel_rows(rows * pixels, y.size(1), [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) {
            const auto own = [&](const at::Tensor& x) {
                return static_cast<std::size_t>(x.size(0) == 1 ? i % pixels : i);
            };
            char* pixel = to + static_cast<std::size_t>(i) * (a_bytes + b_bytes);
            std::memcpy(pixel, from_a + own(a) * a_bytes, a_bytes);
            std::memcpy(pixel + a_bytes, from_b + own(b) * b_bytes, b_bytes);
        }
    });
    return y;
}

at::Tensor upsample_nearest(const at::Tensor& x, std::int64_t height, std::int64_t width) {
    if (!x.is_cpu() || tracked(x)) return at::upsample_nearest2d(x, {height, width});
    const at::Tensor in = ordered(x);
    const std::int64_t rows = in.size(0), from_height = in.size(2), from_width = in.size(3);
    require(rows > 0 && from_height > 0 && from_width > 0 && height > 0 && width > 0,
            "upsample: needs pixels, got ", concat(x.sizes()), " to ", height, " x ", width);
    at::Tensor y = empty_image(in, {rows, in.size(1), height, width});
    const std::size_t bytes = static_cast<std::size_t>(in.size(1)) * in.element_size();
    const char* from = bytes_of(in);
    char* to = static_cast<char*>(y.data_ptr());
    parallel_rows(rows * height, width * in.size(1), [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) {
            const std::int64_t line = i / height * from_height + i % height * from_height / height;
            for (std::int64_t at = 0; at < width; ++at) {
                const std::int64_t pixel = line * from_width + at * from_width / width;
                std::memcpy(to + static_cast<std::size_t>(i * width + at) * bytes,
                            from + static_cast<std::size_t>(pixel) * bytes, bytes);
            }
        }
    });
    return y;
}

at::Tensor rows_in_turn(const at::Tensor& x, std::int64_t rows, std::int64_t first,
                        std::int64_t count) {
    const std::int64_t own = x.size(0);
    if (own == 1) return x;
    if (own == rows) return x.narrow(0, first, count);
    require(own > 0 && rows % own == 0, "rows: ", own, " cannot stand for ", rows, " in turn");
    // Channels-last memory stays so: its rows are whole either way.
    const bool image = x.dim() == 4;
    const at::Tensor plain = image ? x.permute({0, 2, 3, 1}) : x;
    const at::Tensor which =
        at::arange(first, first + count, x.options().dtype(at::kLong)).floor_divide(rows / own);
    const at::Tensor taken = plain.index_select(0, which);
    return image ? taken.permute({0, 3, 1, 2}) : taken;
}

at::Tensor rows_in_turn(const at::Tensor& x, std::int64_t rows) {
    return rows_in_turn(x, rows, 0, rows);
}

}  // namespace zoodip
