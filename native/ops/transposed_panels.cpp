#include "ops/transposed_panels.h"

#include <algorithm>
#include <array>
#include <utility>

#include "core/error.h"
#include "ops/attention_tiles.h"

namespace zoodip {
namespace {

constexpr std::int64_t width = PanelSource::width;

std::vector<std::int64_t> turned(std::vector<std::int64_t> shape) {
    std::swap(shape.at(0), shape.at(1));
    return shape;
}

}  // namespace

TransposedPanels::TransposedPanels(const PanelSource& weight)
    : PanelSource(turned(weight.shape())), weight_(weight) {}

// The inputs of this are outputs of the weight, 64 of which are a panel there.
void TransposedPanels::widen_inputs(std::int64_t index, std::int64_t tap, std::int64_t first,
                                    std::int64_t count, float* out) const {
    require(first % width == 0 && count <= width, "panels: a part of a panel cannot be turned");
    const std::int64_t from = index * width, there = std::min(width, out_features() - from);
    std::array<float, width * width> tile;
    weight_.widen_inputs(first / width, taps() - 1 - tap, from, there, tile.data());
    attention_tiles::transpose({tile.data(), width}, there, width, {out, width});
    for (std::int64_t i = 0; there < width && i < count; ++i) {
        std::fill_n(out + i * width + there, width - there, 0.0f);
    }
}

void TransposedPanels::widen(std::int64_t index, float* out) const {
    for (std::int64_t tap = 0; tap < taps(); ++tap) {
        for (std::int64_t first = 0; first < padded_in(); first += width) {
            float* to = out + (tap * padded_in() + first) * width;
            const std::int64_t count = std::min(width, padded_in() - first);
            if (count == width) {
                widen_inputs(index, tap, first, width, to);
            } else {
                std::array<float, width * width> tile;
                widen_inputs(index, tap, first, width, tile.data());
                std::copy_n(tile.data(), count * width, to);
            }
        }
    }
}

void TransposedPanels::widen(std::int64_t index, at::BFloat16* out) const {
    for (std::int64_t tap = 0; tap < taps(); ++tap) {
        for (std::int64_t first = 0; first < padded_in(); first += width) {
            std::array<float, width * width> tile;
            widen_inputs(index, tap, first, width, tile.data());
            at::BFloat16* to = out + (tap * padded_in() + first) * width;
            const std::int64_t count = std::min(width, padded_in() - first);
            for_cpu_isa([&] ZOODIP_INLINED {
                for (std::int64_t i = 0; i < count; i += 2) {
                    for (std::int64_t n = 0; n < width; ++n) {
                        store(tile[static_cast<std::size_t>(i * width + n)],
                              to + i * width + 2 * n);
                        store(tile[static_cast<std::size_t>((i + 1) * width + n)],
                              to + i * width + 2 * n + 1);
                    }
                }
            });
        }
    }
}

at::Tensor TransposedPanels::dense(at::ScalarType type) const {
    const at::Tensor whole = weight_.dense(type).transpose(0, 1);
    return whole.dim() == 4 ? whole.flip({2, 3}) : whole;
}

}  // namespace zoodip
