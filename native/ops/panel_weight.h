// INT8 weights as the CPU's products read them: panels of 64 output channels.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>
#include <c10/util/BFloat16.h>

#include "ops/panel_source.h"
#include "ops/part_reader.h"
#include "ops/weight_codec.h"

namespace zoodip {

// [panels, taps, in / 4, 64, 4] int8, a tap being a place of the kernel: four input channels of an
// output channel side by side, which is what VNNI and AMX multiply; float32 and bfloat16 panels
// come out of it lane by lane. Channels are filled up with zeros to whole panels and fours.
class PanelWeight : public PanelSource {
  public:
    // weight: floating point, [out, in] or [out, in, kernel, kernel], on the CPU, finite. Its
    // integers and scales are those of quantize_int8.
    explicit PanelWeight(const at::Tensor& weight);
    // The same of a weight of this shape and stored type (float16, bfloat16 or float32) that is
    // read row by row: no more of it than a few rows a thread is ever in memory.
    PanelWeight(const std::vector<std::int64_t>& shape, at::ScalarType type,
                const PartReader& reader);

    // The same of integers [out, in] or [out, in, kernel, kernel], int8 on the CPU, and their
    // scales, float32 [out], that are there already.
    PanelWeight(const at::Tensor& integers, const at::Tensor& scale);

    const std::int8_t* panel(std::int64_t index) const;
    const float* scale() const;                // [panels * 64], zeros beyond the output channels
    const std::int32_t* channel_sums() const;  // [panels * 64]: of a channel's integers

    // A panel's integers, which are exact in all of the types; int16 in pairs like bfloat16.
    void widen(std::int64_t index, float* out) const override;
    void widen(std::int64_t index, at::BFloat16* out) const override;
    void widen(std::int64_t index, std::int16_t* out) const;
    void widen_inputs(std::int64_t index, std::int64_t tap, std::int64_t first, std::int64_t count,
                      float* out) const override;
    const float* gain() const override { return scale(); }
    const PanelWeight* integers() const override { return this; }

    // s W_q, as dequantize_int8 has it.
    at::Tensor dense(at::ScalarType type) const override;

  private:
    void allocate();
    // Puts `count` rows of integers from `first` on, at most 16 of one panel, into their places.
    void place(const std::int8_t* integers, std::int64_t first, std::int64_t count);
    // make_rows(), once a thread: (first, count) -> `count` rows [in, taps] from `first` on.
    template <class Number, class MakeRows>
    void quantize(const MakeRows& make_rows);
    // pair(word of four, 0 or 2) -> two of its numbers.
    template <class Pair>
    void widen_pairs(std::int64_t index, void* out, const Pair& pair) const;
    PackedWeight unpack() const;

    std::shared_ptr<void> pages_;  // the integers
    at::Tensor scale_;             // float32
    at::Tensor sums_;              // int32
};

}  // namespace zoodip
