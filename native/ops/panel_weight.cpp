#include "ops/panel_weight.h"

#include <bit>
#include <cstring>
#include <span>
#include <type_traits>

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include "core/error.h"
#include "core/memory.h"
#include "ops/cpu_isa.h"
#include "ops/parallel.h"
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

// The same of int16.
ZOODIP_INLINED inline std::uint32_t short_pair_of(std::int32_t word, int k) {
    const auto bits = static_cast<std::uint32_t>(word);
    const auto low = static_cast<std::int32_t>(bits << (24 - 8 * k)) >> 24;
    const auto high = static_cast<std::int32_t>(bits << (16 - 8 * k)) >> 24;
    return (static_cast<std::uint32_t>(low) & 0xffffu) | static_cast<std::uint32_t>(high) << 16;
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

constexpr std::int64_t line = 16;  // output channels whose words fill a line of the cache

// Four numbers of a row [in, taps]: input channels k to k + 3 of a tap; zeros beyond the last.
std::uint32_t word_of(const std::int8_t* row, std::int64_t k, std::int64_t in, std::int64_t taps) {
    std::uint32_t word = 0;
    if (taps == 1 && k + 4 <= in) {
        std::memcpy(&word, row + k, 4);
        return word;
    }
    for (std::int64_t i = 0; i < std::min<std::int64_t>(4, in - k); ++i) {
        word |= std::uint32_t(static_cast<std::uint8_t>(row[(k + i) * taps])) << (8 * i);
    }
    return word;
}

// `count` rows [in, taps], one after another -> as many columns of a panel [taps, in / 4, 64, 4].
void place_rows(const std::int8_t* rows, std::int64_t count, const PanelWeight& weight,
                std::int8_t* columns) {
    const std::int64_t in = weight.in_features(), taps = weight.taps();
    for (std::int64_t tap = 0; tap < taps; ++tap) {
        for (std::int64_t k = 0; k < in; k += 4) {
            std::int8_t* to = columns + (tap * weight.padded_in() + k) * width;
            for (std::int64_t n = 0; n < count; ++n) {
                const std::uint32_t word = word_of(rows + n * in * taps + tap, k, in, taps);
                std::memcpy(to + n * 4, &word, 4);
            }
        }
    }
}

// work(a null pointer to the numbers that a type is quantised from).
template <class Work>
void for_stored_type(at::ScalarType type, const Work& work) {
    if (type == at::kHalf) return work(static_cast<const at::Half*>(nullptr));
    if (type == at::kBFloat16) return work(static_cast<const at::BFloat16*>(nullptr));
    work(static_cast<const float*>(nullptr));
}

void sum(const std::int8_t* values, std::int64_t count, std::int32_t* total) {
    for_cpu_isa([=] ZOODIP_INLINED {
        std::int32_t all = 0;
        for (std::int64_t i = 0; i < count; ++i) all += values[i];
        *total = all;
    });
}

}  // namespace

// make_rows() is called once for each thread's share.
template <class Number, class MakeRows>
void PanelWeight::quantize(const MakeRows& make_rows) {
    const std::int64_t length = taps() * in_features();
    auto* scale = scale_.mutable_data_ptr<float>();
    const std::int64_t lines = (out_features() + line - 1) / line;
    parallel_rows(lines, line * length, [&](std::int64_t begin, std::int64_t end) {
        auto rows = make_rows();
        std::vector<float> row(static_cast<std::size_t>(length));
        std::vector<std::int8_t> integers(static_cast<std::size_t>(line * length));
        for (std::int64_t i = begin; i < end; ++i) {
            const std::int64_t first = i * line, count = std::min(line, out_features() - first);
            const Number* numbers = rows(first, count);
            for (std::int64_t n = 0; n < count; ++n) {
                std::int8_t* to = integers.data() + n * length;
                widen_row(numbers + n * length, length, row.data());
                quantize_int8_row(row.data(), length, to, scale + first + n);
            }
            place(integers.data(), first, count);
        }
    });
}

void PanelWeight::place(const std::int8_t* integers, std::int64_t first, std::int64_t count) {
    const std::int64_t length = taps() * in_features();
    auto* sums = sums_.mutable_data_ptr<std::int32_t>();
    for (std::int64_t n = 0; n < count; ++n) {
        sum(integers + n * length, length, sums + first + n);
    }
    auto* values = static_cast<std::int8_t*>(pages_.get());
    place_rows(integers, count, *this, values + first / width * panel_size() + first % width * 4);
}

void PanelWeight::allocate() {
    pages_ = allocate_pages(static_cast<std::size_t>(panels() * panel_size()));
    scale_ = at::zeros({panels() * width}, at::kFloat);
    sums_ = at::zeros({panels() * width}, at::kInt);
}

PanelWeight::PanelWeight(const at::Tensor& weight) : PanelSource(weight.sizes().vec()) {
    require(weight.is_cpu(), "panel weight: needs one on the CPU, got ", weight.toString());
    allocate();
    const at::Tensor stored = weight.contiguous();
    const std::int64_t length = taps() * in_features();
    for_stored_type(stored.scalar_type(), [&]<class Number>(const Number*) {
        const at::Tensor all = stored.to(c10::CppTypeToScalarType<Number>::value);
        quantize<Number>([&] {
            return [&](std::int64_t first, std::int64_t) {
                return all.const_data_ptr<Number>() + first * length;
            };
        });
    });
}

PanelWeight::PanelWeight(const std::vector<std::int64_t>& shape, at::ScalarType type,
                         const PartReader& reader)
    : PanelSource(shape) {
    allocate();
    const auto length = static_cast<std::size_t>(taps() * in_features());
    for_stored_type(type, [&]<class Number>(const Number*) {
        require(type == c10::CppTypeToScalarType<Number>::value,
                "panel weight: reads float16, bfloat16 and float32, got ", c10::toString(type));
        quantize<Number>([&] {
            return
                [&, part = std::vector<Number>()](std::int64_t first, std::int64_t count) mutable {
                    part.resize(static_cast<std::size_t>(count) * length);
                    reader(static_cast<std::size_t>(first) * length * sizeof(Number),
                           std::as_writable_bytes(std::span(part)));
                    return static_cast<const Number*>(part.data());
                };
        });
    });
}

PanelWeight::PanelWeight(const at::Tensor& integers, const at::Tensor& scale)
    : PanelSource(integers.sizes().vec()) {
    require(integers.is_cpu() && integers.scalar_type() == at::kChar &&
                scale.scalar_type() == at::kFloat && scale.numel() == out_features(),
            "panel weight: needs int8 and a float32 scale for each output channel, got ",
            integers.toString(), " ", integers.sizes(), " and ", scale.toString(), " ",
            scale.sizes());
    allocate();
    scale_.slice(0, 0, out_features()).copy_(scale);
    const at::Tensor rows = integers.contiguous();
    const std::int64_t length = taps() * in_features();
    const std::int64_t lines = (out_features() + line - 1) / line;
    parallel_rows(lines, line * length, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) {
            const std::int64_t first = i * line;
            place(rows.const_data_ptr<std::int8_t>() + first * length, first,
                  std::min(line, out_features() - first));
        }
    });
}

const std::int8_t* PanelWeight::panel(std::int64_t index) const {
    return static_cast<const std::int8_t*>(pages_.get()) + index * panel_size();
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

void PanelWeight::widen_inputs(std::int64_t index, std::int64_t tap, std::int64_t first,
                               std::int64_t count, float* out) const {
    const auto* words = reinterpret_cast<const std::int32_t*>(panel(index));
    for (std::int64_t in = first; in < first + count; ++in) {
        const std::int32_t* from = words + (tap * padded_in() + in) / 4 * width;
        float* to = out + (in - first) * width;
        const int k = static_cast<int>(in % 4);
        for_cpu_isa([=] ZOODIP_INLINED {
            for (std::int64_t n = 0; n < width; ++n) to[n] = value_of(from[n], k);
        });
    }
}

template <class Pair>
void PanelWeight::widen_pairs(std::int64_t index, void* out, const Pair& pair) const {
    const auto* words = reinterpret_cast<const std::int32_t*>(panel(index));
    const std::int64_t fours = taps() * padded_in() / 4;
    auto* pairs = static_cast<std::uint32_t*>(out);
    for_cpu_isa([=] ZOODIP_INLINED {
        for (std::int64_t four = 0; four < fours; ++four) {
            const std::int32_t* __restrict from = words + four * width;
            std::uint32_t* __restrict to = pairs + four * 2 * width;
            for (std::int64_t n = 0; n < width; ++n) to[n] = pair(from[n], 0);
            for (std::int64_t n = 0; n < width; ++n) to[width + n] = pair(from[n], 2);
        }
    });
}

void PanelWeight::widen(std::int64_t index, at::BFloat16* out) const {
    widen_pairs(index, out,
                [](std::int32_t word, int k) ZOODIP_INLINED { return pair_of(word, k); });
}

void PanelWeight::widen(std::int64_t index, std::int16_t* out) const {
    widen_pairs(index, out,
                [](std::int32_t word, int k) ZOODIP_INLINED { return short_pair_of(word, k); });
}

PackedWeight PanelWeight::unpack() const {
    at::TensorOptions options(at::kChar);
    const at::Tensor rows =
        shape().size() == 4
            ? at::empty(shape(), options.memory_format(at::MemoryFormat::ChannelsLast))
            : at::empty(shape(), options);
    auto* to = rows.mutable_data_ptr<std::int8_t>();
    parallel_ranges(panels(), 1, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) {
            const std::int8_t* from = panel(i);
            for_each_word(*this, i, [&](std::int64_t row, std::int64_t place, auto count) {
                std::memcpy(to + row, from + place, count);
            });
        }
    });
    return {shape(), rows, scale_.narrow(0, 0, out_features()), {}};
}

at::Tensor PanelWeight::dense(at::ScalarType type) const {
    return dequantize_int8(unpack(), type);
}

}  // namespace zoodip
