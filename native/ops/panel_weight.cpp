#include "ops/panel_weight.h"

#include <bit>
#include <cstring>
#include <type_traits>

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include "core/error.h"
#include "ops/cpu_isa.h"

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

std::int32_t sum(const std::int8_t* values, std::int64_t count) {
    std::int32_t total = 0;
    for (std::int64_t i = 0; i < count; ++i) total += values[i];
    return total;
}

}  // namespace

PanelWeight::PanelWeight(const PackedWeight& weight) : shape_(weight.shape) {
    require(weight.values.is_cpu() && weight.values.scalar_type() == at::kChar &&
                (shape_.size() == 2 || shape_[2] == shape_[3]),
            "panel weight: needs INT8 on the CPU with a square kernel, got ",
            weight.values.toString(), " ", concat(weight.shape));
    values_ = at::zeros({panels(), panel_size()}, at::kChar);
    scale_ = at::zeros({panels() * width}, at::kFloat);
    sums_ = at::zeros({panels() * width}, at::kInt);
    const auto* rows = weight.values.const_data_ptr<std::int8_t>();
    auto* values = values_.mutable_data_ptr<std::int8_t>();
    auto* sums = sums_.mutable_data_ptr<std::int32_t>();
    scale_.narrow(0, 0, out_features()).copy_(weight.scale);
    at::parallel_for(0, panels(), 1, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) {
            std::int8_t* to = values + i * panel_size();
            for_each_word(*this, i, [&](std::int64_t row, std::int64_t place, auto count) {
                std::memcpy(to + place, rows + row, count);
            });
            const std::int64_t row = taps() * in_features();
            for (std::int64_t n = i * width; n < std::min((i + 1) * width, out_features()); ++n) {
                sums[n] = sum(rows + n * row, row);
            }
        }
    });
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
