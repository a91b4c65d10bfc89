#include "ops/int4_panels.h"

#include <algorithm>
#include <array>

#include <ATen/ops/empty.h>

#include "core/error.h"
#include "core/memory.h"
#include "ops/parallel.h"
#include "ops/vector_math.h"

namespace zoodip {
namespace {

constexpr std::int64_t width = PanelSource::width;

// One input channel's numbers of a panel: s q - z, as dequantize_int4 has it.
ZOODIP_INLINED inline float number_of(std::uint16_t word, int k, float scale, float shift) {
    return scale * static_cast<float>(word >> (4 * k) & 15) - shift;
}

// Number i of a row of packed values: the first half is in the lower four bits.
unsigned value_at(const std::uint8_t* row, std::int64_t i, std::int64_t half) {
    return i < half ? row[i] & 15u : static_cast<unsigned>(row[i - half]) >> 4;
}

}  // namespace

Int4Panels::Int4Panels(const PackedWeight& packed) : PanelSource(packed.shape) {
    const std::int64_t row = in_features() * taps(), out = out_features();
    groups_ = packed.scale.size(1);
    group_ = row / groups_;
    require(group_ * groups_ == row && packed.scale.size(0) == out &&
                packed.values.size(1) == (row + 1) / 2,
            "int4 panels: values and scales do not fit ", at::IntArrayRef(packed.shape));
    const auto size = static_cast<std::size_t>(panels() * groups_ * width);
    scale_.assign(size, 0);
    shift_.assign(size, 0);
    pages_ = allocate_pages(static_cast<std::size_t>(panels() * panel_size() / 2));
    auto* to = static_cast<std::uint16_t*>(pages_.get());
    const auto* values = packed.values.const_data_ptr<std::uint8_t>();
    const auto* scale = packed.scale.const_data_ptr<float>();
    const auto* shift = packed.shift.const_data_ptr<float>();
    const std::int64_t half = packed.values.size(1), in = in_features();
    parallel_ranges(panels(), 1, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t channel = begin * width; channel < end * width; ++channel) {
            const std::int64_t panel = channel / width, lane = channel % width;
            const bool there = channel < out;
            for (std::int64_t g = 0; there && g < groups_; ++g) {
                const auto at = static_cast<std::size_t>((panel * groups_ + g) * width + lane);
                scale_[at] = scale[channel * groups_ + g];
                shift_[at] = shift[channel * groups_ + g];
            }
            for (std::int64_t tap = 0; tap < taps(); ++tap) {
                for (std::int64_t k = 0; k < padded_in(); k += 4) {
                    unsigned word = 0;
                    for (std::int64_t i = k; there && i < std::min(k + 4, in); ++i) {
                        word |= value_at(values + channel * half, tap * in + i, half)
                                << (4 * (i - k));
                    }
                    to[panel * panel_size() / 4 + (tap * padded_in() + k) / 4 * width + lane] =
                        static_cast<std::uint16_t>(word);
                }
            }
        }
    });
}

const std::uint16_t* Int4Panels::words(std::int64_t index, std::int64_t tap,
                                       std::int64_t in) const {
    return static_cast<const std::uint16_t*>(pages_.get()) + index * panel_size() / 4 +
           (tap * padded_in() + in) / 4 * width;
}

void Int4Panels::widen_inputs(std::int64_t index, std::int64_t tap, std::int64_t first,
                              std::int64_t count, float* out) const {
    for (std::int64_t in = first; in < first + count; ++in) {
        const std::int64_t group = (index * groups_ + group_of(in, tap)) * width;
        const std::uint16_t* from = words(index, tap, in);
        const float *scale = scale_.data() + group, *shift = shift_.data() + group;
        float* to = out + (in - first) * width;
        const int k = static_cast<int>(in % 4);
        for_cpu_isa([=] ZOODIP_INLINED {
            for (std::int64_t n = 0; n < width; ++n) {
                to[n] = number_of(from[n], k, scale[n], shift[n]);
            }
        });
    }
}

void Int4Panels::widen(std::int64_t index, float* out) const {
    const std::int64_t in = in_features();
    for (std::int64_t tap = 0; tap < taps(); ++tap) {
        float* to = out + tap * padded_in() * width;
        widen_inputs(index, tap, 0, in, to);
        std::fill_n(to + in * width, (padded_in() - in) * width, 0.0f);
    }
}

void Int4Panels::widen(std::int64_t index, at::BFloat16* out) const {
    const std::int64_t in = in_features();
    std::array<float, 2 * width> pair;
    for (std::int64_t tap = 0; tap < taps(); ++tap) {
        for (std::int64_t k = 0; k < padded_in(); k += 2) {
            const std::int64_t there = std::clamp<std::int64_t>(in - k, 0, 2);
            std::fill(pair.begin() + there * width, pair.end(), 0.0f);
            widen_inputs(index, tap, k, there, pair.data());
            at::BFloat16* to = out + (tap * padded_in() + k) * width;
            for_cpu_isa([&pair, to] ZOODIP_INLINED {
                for (std::size_t n = 0; n < width; ++n) {
                    store(pair[n], to + 2 * n);
                    store(pair[width + n], to + 2 * n + 1);
                }
            });
        }
    }
}

at::Tensor Int4Panels::dense(at::ScalarType type) const {
    const std::int64_t in = in_features(), out = out_features();
    // [out, taps, in], which is channels-last memory.
    const at::Tensor rows = at::empty({out, taps(), in}, at::kFloat);
    auto* to = rows.mutable_data_ptr<float>();
    parallel_ranges(panels(), 1, [&](std::int64_t begin, std::int64_t end) {
        std::vector<float> numbers(static_cast<std::size_t>(panel_size()));
        for (std::int64_t panel = begin; panel < end; ++panel) {
            widen(panel, numbers.data());
            for (std::int64_t lane = 0; lane < std::min(width, out - panel * width); ++lane) {
                for (std::int64_t i = 0; i < taps() * in; ++i) {
                    const std::int64_t tap = i / in, from = tap * padded_in() + i % in;
                    to[(panel * width + lane) * taps() * in + i] =
                        numbers[static_cast<std::size_t>(from * width + lane)];
                }
            }
        }
    });
    const at::Tensor typed = rows.to(type);
    if (shape().size() == 2) return typed.view({out, in});
    return typed.view({out, kernel(), kernel(), in}).permute({0, 3, 1, 2});
}

}  // namespace zoodip
