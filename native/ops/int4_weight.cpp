#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <span>
#include <type_traits>
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/isfinite.h>

#include "core/error.h"
#include "ops/cpu_isa.h"
#include "ops/parallel.h"
#include "ops/weight_codec.h"

namespace zoodip {
namespace {

constexpr float levels = 15;  // steps between the smallest and the largest of 16 values

std::int64_t group_size(std::int64_t row) {
    if (row > 128) {
        for (const std::int64_t size : {128, 96, 64, 32}) {
            if (row % size == 0) return size;
        }
    }
    return std::max<std::int64_t>(1, row);
}

ZOODIP_INLINED inline std::int64_t ceil_divide(std::int64_t a, std::int64_t b) {
    return (a + b - 1) / b;
}

// A weight as `rows` output channels of inputs * taps numbers: grouped in this order, which is that
// of a contiguous weight, but kept in the order taps * inputs of a channels-last one.
struct Layout {
    explicit Layout(at::IntArrayRef shape)
        : rows(shape[0]), inputs(shape[1]), taps(shape.size() == 4 ? shape[2] * shape[3] : 1) {}

    std::int64_t rows, inputs, taps;
    std::int64_t row() const { return inputs * taps; }
    std::int64_t group() const { return group_size(row()); }
    std::int64_t groups() const { return row() / group(); }
    std::int64_t half() const { return ceil_divide(row(), 2); }  // bytes of a packed row
};

// A stretch [begin, end) of a row's memory that belongs to one group.
struct Run {
    std::int64_t begin, end, group;
};

// In the order of memory. Those of a 3 x 3 kernel are a ninth of a group long.
std::vector<Run> find_runs(const Layout& layout) {
    std::vector<Run> runs;
    for (std::int64_t tap = 0; tap < layout.taps; ++tap) {
        // The first input whose number at this tap is not before `position` of the grouped order.
        const auto first_input = [&](std::int64_t position) {
            return position <= tap ? 0 : ceil_divide(position - tap, layout.taps);
        };
        for (std::int64_t group = 0; group < layout.groups(); ++group) {
            const std::int64_t start = tap * layout.inputs;
            const Run run{start + first_input(group * layout.group()),
                          start + first_input((group + 1) * layout.group()), group};
            if (run.begin == run.end) continue;
            if (!runs.empty() && runs.back().group == group) {
                runs.back().end = run.end;
            } else {
                runs.push_back(run);
            }
        }
    }
    return runs;
}

// ------------------------------------------------------------------------------------- quantise

// Floats as integers of the same order, and back: integer extremes are vectorised where float ones,
// for the sake of NaN, are not.
ZOODIP_INLINED inline std::int32_t in_order(std::int32_t bits) {
    return bits ^ ((bits >> 31) & 0x7FFFFFFF);
}

void find_extremes(const float* group, std::int64_t length, float* lowest, float* highest) {
    for_cpu_isa([=] ZOODIP_INLINED {
        std::int32_t low = in_order(std::bit_cast<std::int32_t>(group[0])), high = low;
        for (std::int64_t i = 0; i < length; ++i) {
            const std::int32_t x = in_order(std::bit_cast<std::int32_t>(group[i]));
            low = x < low ? x : low;
            high = x > high ? x : high;
        }
        *lowest = std::bit_cast<float>(in_order(low));
        *highest = std::bit_cast<float>(in_order(high));
    });
}

void quantize_group(const float* group, std::int64_t length, float scale, float shift,
                    std::uint8_t* q) {
    for_cpu_isa([=] ZOODIP_INLINED {
        if (scale == 0 || !std::isfinite(scale)) {  // not finite: refused once all rows are done
            std::fill_n(q, length, std::uint8_t{0});
            return;
        }
        for (std::int64_t i = 0; i < length; ++i) {
            // Beyond 15 only where the scale is so small that it is rounded itself.
            const float value = std::nearbyint((group[i] + shift) / scale);
            q[i] = static_cast<std::uint8_t>(value > levels ? levels : value);
        }
    });
}

// Grouped order to memory order, and two to a byte. scratch: 2 * half.
void pack_row(const std::uint8_t* q, const Layout& layout, std::uint8_t* scratch,
              std::uint8_t* packed) {
    for (std::int64_t tap = 0; tap < layout.taps; ++tap) {
        for (std::int64_t input = 0; input < layout.inputs; ++input) {
            scratch[tap * layout.inputs + input] = q[input * layout.taps + tap];
        }
    }
    const std::int64_t half = layout.half();
    for (std::int64_t i = 0; i < half; ++i) {
        packed[i] = static_cast<std::uint8_t>(scratch[i] | scratch[half + i] << 4);
    }
}

void quantize_rows(const float* weight, const Layout& layout, const PackedWeight& out) {
    const std::int64_t group = layout.group(), groups = layout.groups();
    auto* values = out.values.mutable_data_ptr<std::uint8_t>();
    auto* scale = out.scale.mutable_data_ptr<float>();
    auto* shift = out.shift.mutable_data_ptr<float>();
    parallel_rows(layout.rows, layout.row(), [&](std::int64_t begin, std::int64_t end) {
        std::vector<std::uint8_t> q(layout.row()), scratch(2 * layout.half());
        for (std::int64_t row = begin; row < end; ++row) {
            for (std::int64_t g = 0; g < groups; ++g) {
                const float* numbers = weight + row * layout.row() + g * group;
                float lowest, highest;
                find_extremes(numbers, group, &lowest, &highest);
                const float s = (highest - lowest) / levels;
                quantize_group(numbers, group, s, -lowest, q.data() + g * group);
                scale[row * groups + g] = s;
                shift[row * groups + g] = -lowest;
            }
            pack_row(q.data(), layout, scratch.data(), values + row * layout.half());
        }
    });
}

// ----------------------------------------------------------------------------------- dequantise

void unpack_row(const std::uint8_t* __restrict packed, std::int64_t half,
                std::uint8_t* __restrict q) {
    for_cpu_isa([=] ZOODIP_INLINED {
        for (std::int64_t i = 0; i < half; ++i) {
            q[i] = packed[i] & 15;
            q[half + i] = packed[i] >> 4;
        }
    });
}

// One output channel: its integers in memory order, and its groups' scales and shifts.
struct RowView {
    const std::uint8_t* q;
    const float* scale;
    const float* shift;
    std::int64_t length;
};

// A run is lengthened to whole vectors, which the next run then overwrites.
ZOODIP_INLINED inline std::int64_t vector_end(const Run& run, std::int64_t length) {
    return std::min(length, run.begin + ceil_divide(run.end - run.begin, 16) * 16);
}

void dequantize_row(const RowView& row, std::span<const Run> runs, float* __restrict out) {
    for_cpu_isa([=] ZOODIP_INLINED {
        for (const Run& run : runs) {
            const float s = row.scale[run.group], z = row.shift[run.group];
            const std::uint8_t* q = row.q;
            const std::int64_t end = vector_end(run, row.length);
            for (std::int64_t i = run.begin; i < end; ++i) out[i] = s * q[i] - z;
        }
    });
}

void round_row(const float* __restrict row, std::int64_t length, at::BFloat16* __restrict out) {
    for_cpu_isa([=] ZOODIP_INLINED {
        for (std::int64_t i = 0; i < length; ++i) out[i] = row[i];
    });
}

template <class Out>
void dequantize_rows(const PackedWeight& weight, Out* out) {
    const Layout layout(weight.shape);
    const std::vector<Run> runs = find_runs(layout);
    const auto* values = weight.values.const_data_ptr<std::uint8_t>();
    const auto* scale = weight.scale.const_data_ptr<float>();
    const auto* shift = weight.shift.const_data_ptr<float>();
    parallel_rows(layout.rows, layout.row(), [&](std::int64_t begin, std::int64_t end) {
        std::vector<std::uint8_t> q(2 * layout.half());
        std::vector<float> wide(layout.row());  // runs are too short to be rounded one by one
        for (std::int64_t row = begin; row < end; ++row) {
            unpack_row(values + row * layout.half(), layout.half(), q.data());
            const std::int64_t first = row * layout.groups();
            const RowView view{q.data(), scale + first, shift + first, layout.row()};
            if constexpr (std::is_same_v<Out, float>) {
                dequantize_row(view, runs, out + row * layout.row());
            } else {
                dequantize_row(view, runs, wide.data());
                round_row(wide.data(), layout.row(), out + row * layout.row());
            }
        }
    });
}

}  // namespace

PackedWeight quantize_int4(const at::Tensor& weight) {
    require_quantizable(weight);
    const at::Tensor grouped = weight.contiguous();
    const Layout layout(weight.sizes());
    PackedWeight out{weight.sizes().vec(),
                     at::empty({layout.rows, layout.half()}, grouped.options().dtype(at::kByte)),
                     at::empty({layout.rows, layout.groups()}, grouped.options()),
                     at::empty({layout.rows, layout.groups()}, grouped.options())};
    quantize_rows(grouped.const_data_ptr<float>(), layout, out);
    require(at::isfinite(out.scale * levels).all().item<bool>(),
            "quantize int4: the weights of a group lie further apart than float32 can say");
    return out;
}

at::Tensor dequantize_int4(const PackedWeight& weight, at::ScalarType type) {
    if (!weight.values.is_cpu()) return dequantize_int4_plain(weight, type);
    const bool image = weight.shape.size() == 4;
    at::Tensor out =
        at::empty(weight.shape, weight.scale.options().dtype(type),
                  image ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous);
    if (type == at::kFloat) {
        dequantize_rows(weight, out.mutable_data_ptr<float>());
    } else if (type == at::kBFloat16) {
        dequantize_rows(weight, out.mutable_data_ptr<at::BFloat16>());
    } else {
        fail("dequantize int4: needs float32 or bfloat16, got ", c10::toString(type));
    }
    return out;
}

at::Tensor dequantize_int4_plain(const PackedWeight& weight, at::ScalarType type) {
    const Layout layout(weight.shape);
    const at::Tensor q =
        at::cat({weight.values & 15, weight.values.__rshift__(4)}, 1).narrow(1, 0, layout.row());
    at::Tensor out = q.view({layout.rows, layout.taps, layout.inputs})
                         .transpose(1, 2)
                         .to(at::kFloat, false, false, at::MemoryFormat::Contiguous)
                         .view({layout.rows * layout.groups(), layout.group()});
    out.mul_(weight.scale.view({-1, 1})).sub_(weight.shift.view({-1, 1}));
    out = out.to(type).view(weight.shape);
    return out.dim() == 4 ? out.contiguous(at::MemoryFormat::ChannelsLast) : out;
}

std::int64_t int4_scale_bytes(std::int64_t row) {
    return row / group_size(row) * static_cast<std::int64_t>(2 * sizeof(float));
}

}  // namespace zoodip
