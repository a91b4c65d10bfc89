#include "ops/panel_weight.h"

#include <bit>
#include <cstring>
#include <type_traits>

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include "core/error.h"
#include "ops/cpu_isa.h"
#include "ops/parallel_rows.h"
#include "ops/vector_math.h"

namespace zoodip {
namespace {

constexpr std::int64_t width = PanelWeight::width;

// Value k (0..3) of a word of four.
ZOODIP_INLINED inline float value_of(std::int32_t word, int k) {
    const auto bits = static_cast<std::uint32_t>(word) << (24 - 8 * k);
    return static_cast<float>(static_cast<std::int32_t>(bits) >> 24);
}

// The integers of int8 are exact in bfloat16: the lower half of their float32 is zero.
ZOODIP_INLINED inline std::uint32_t pair_of(std::int32_t word, int k) {
    return std::bit_cast<std::uint32_t>(value_of(word, k)) >> 16 |
           std::bit_cast<std::uint32_t>(value_of(word, k + 1));
}

// copy(row, place, count) between rows [channel][tap][in] and panels, of one panel. count: 4, a
// constant of the type, or what is left of a row.
template <class Copy>
void for_each_word(const PanelWeight& weight, std::int64_t panel, const Copy& copy) {
    const std::integral_constant<std::size_t, 4> four;
    const std::int64_t in = weight.in_features(), taps = weight.taps();
    const std::int64_t channels = std::min(width, weight.out_features() - panel * width);
    for (std::int64_t tap = 0; tap < taps; ++tap) {
        for (std::int64_t k = 0; k < in; k += 4) {
            const std::int64_t place = tap * weight.padded_in() * width + k * width;
            for (std::int64_t n = 0; n < channels; ++n) {
                const std::int64_t row = ((panel * width + n) * taps + tap) * in + k;
                if (in - k >= 4) {
                    copy(row, place + n * 4, four);
                } else {
                    copy(row, place + n * 4, static_cast<std::size_t>(in - k));
                }
            }
        }
    }
}

template <class Number>
void widen_row(const Number* row, std::int64_t length, float* out) {
    for_cpu_isa([=] ZOODIP_INLINED {
        for (std::int64_t i = 0; i < length; ++i) out[i] = widened(row[i]);
    });
}

// row: [in, taps] -> column n of a panel: [taps, in / 4, 64, 4].
void place_row(const std::int8_t* row, const PanelWeight& weight, std::int8_t* column) {
    const std::int64_t in = weight.in_features(), taps = weight.taps();
    for (std::int64_t tap = 0; tap < taps; ++tap) {
        std::int8_t* to = column + tap * weight.padded_in() * width;
        for (std::int64_t k = 0; k < in; ++k) to[k / 4 * 4 * width + k % 4] = row[k * taps + tap];
    }
}

std::int32_t sum(const std::int8_t* values, std::int64_t count) {
    std::int32_t total = 0;
    for (std::int64_t i = 0; i < count; ++i) total += values[i];
    return total;
}

}  // namespace

template <class Number>
void PanelWeight::quantize(const Number* rows) {
    const std::int64_t length = taps() * in_features();
    auto* values = values_.mutable_data_ptr<std::int8_t>();
    auto* scale = scale_.mutable_data_ptr<float>();
    auto* sums = sums_.mutable_data_ptr<std::int32_t>();
    parallel_rows(out_features(), length, [&](std::int64_t begin, std::int64_t end) {
        std::vector<float> row(static_cast<std::size_t>(length));
        std::vector<std::int8_t> integers(row.size());
        for (std::int64_t n = begin; n < end; ++n) {
            widen_row(rows + n * length, length, row.data());
            quantize_int8_row(row.data(), length, integers.data(), scale + n);
            sums[n] = sum(integers.data(), length);
            place_row(integers.data(), *this, values + n / width * panel_size() + n % width * 4);
        }
    });
}

PanelWeight::PanelWeight(const at::Tensor& weight) : shape_(weight.sizes().vec()) {
    require(
        weight.is_cpu() && (shape_.size() == 2 || (shape_.size() == 4 && shape_[2] == shape_[3])),
        "panel weight: needs [out, in] or a square kernel, on the CPU, got ", weight.toString(),
        " ", concat(weight.sizes()));
    values_ = at::zeros({panels(), panel_size()}, at::kChar);
    scale_ = at::zeros({panels() * width}, at::kFloat);
    sums_ = at::zeros({panels() * width}, at::kInt);
    const at::Tensor rows = weight.contiguous();
    if (rows.scalar_type() == at::kHalf) {
        quantize(rows.const_data_ptr<at::Half>());
    } else if (rows.scalar_type() == at::kBFloat16) {
        quantize(rows.const_data_ptr<at::BFloat16>());
    } else {
        quantize(rows.to(at::kFloat).const_data_ptr<float>());
    }
}

const std::int8_t* PanelWeight::panel(std::int64_t index) const {
    return values_.const_data_ptr<std::int8_t>() + index * panel_size();
}

const float* PanelWeight::scale() const {
    return scale_.const_data_ptr<float>();
}

const std::int32_t* PanelWeight::channel_sums() const {
    return sums_.const_data_ptr<std::int32_t>();
}

void PanelWeight::widen(std::int64_t index, float* out) const {
    const auto* words = reinterpret_cast<const std::int32_t*>(panel(index));
    const std::int64_t fours = taps() * padded_in() / 4;
    for_cpu_isa([=] ZOODIP_INLINED {
        for (std::int64_t four = 0; four < fours; ++four) {
            const std::int32_t* __restrict from = words + four * width;
            float* __restrict to = out + four * 4 * width;
            for (int k = 0; k < 4; ++k) {
                for (std::int64_t n = 0; n < width; ++n) to[k * width + n] = value_of(from[n], k);
            }
        }
    });
}

void PanelWeight::widen(std::int64_t index, at::BFloat16* out) const {
    const auto* words = reinterpret_cast<const std::int32_t*>(panel(index));
    const std::int64_t fours = taps() * padded_in() / 4;
    auto* pairs = reinterpret_cast<std::uint32_t*>(out);
    for_cpu_isa([=] ZOODIP_INLINED {
        for (std::int64_t four = 0; four < fours; ++four) {
            const std::int32_t* __restrict from = words + four * width;
            std::uint32_t* __restrict to = pairs + four * 2 * width;
            for (std::int64_t n = 0; n < width; ++n) to[n] = pair_of(from[n], 0);
            for (std::int64_t n = 0; n < width; ++n) to[width + n] = pair_of(from[n], 2);
        }
    });
}

PackedWeight PanelWeight::unpack() const {
    at::TensorOptions options = values_.options();
    const at::Tensor rows =
        shape_.size() == 4
            ? at::empty(shape_, options.memory_format(at::MemoryFormat::ChannelsLast))
            : at::empty(shape_, options);
    auto* to = rows.mutable_data_ptr<std::int8_t>();
    at::parallel_for(0, panels(), 1, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) {
            const std::int8_t* from = panel(i);
            for_each_word(*this, i, [&](std::int64_t row, std::int64_t place, auto count) {
                std::memcpy(to + row, from + place, count);
            });
        }
    });
    return {shape_, rows, scale_.narrow(0, 0, out_features()), {}};
}

at::Tensor PanelWeight::dense(at::ScalarType type) const {
    return dequantize_int8(unpack(), type);
}

std::int64_t PanelWeight::bytes() const {
    return static_cast<std::int64_t>(values_.nbytes() + scale_.nbytes() + sums_.nbytes());
}

}  // namespace zoodip
