// INT8 weights as the CPU's products read them: panels of 64 output channels.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>
#include <c10/util/BFloat16.h>

#include "ops/part_reader.h"
#include "ops/weight_codec.h"

namespace zoodip {

// [panels, taps, in / 4, 64, 4] int8, a tap being a place of the kernel: four input channels of an
// output channel side by side, which is what VNNI and AMX multiply; float32 and bfloat16 panels
// come out of it lane by lane. Channels are filled up with zeros to whole panels and fours.
class PanelWeight {
  public:
    static constexpr std::int64_t width = 64;  // output channels of a panel

    PanelWeight() = default;
    // weight: floating point, [out, in] or [out, in, kernel, kernel], on the CPU, finite. Its
    // integers and scales are those of quantize_int8.
    explicit PanelWeight(const at::Tensor& weight);
    // The same of a weight of this shape and stored type (float16, bfloat16 or float32) that is
    // read row by row: no more of it than a few rows a thread is ever in memory.
    PanelWeight(const std::vector<std::int64_t>& shape, at::ScalarType type,
                const PartReader& reader);

    bool defined() const { return pages_ != nullptr; }
    const std::vector<std::int64_t>& shape() const { return shape_; }
    std::int64_t out_features() const { return shape_[0]; }
    std::int64_t in_features() const { return shape_[1]; }
    std::int64_t kernel() const { return shape_.size() == 4 ? shape_[2] : 1; }
    std::int64_t taps() const { return kernel() * kernel(); }
    std::int64_t padded_in() const { return (in_features() + 3) / 4 * 4; }
    std::int64_t panels() const { return (out_features() + width - 1) / width; }
    std::int64_t panel_size() const { return taps() * padded_in() * width; }

    const std::int8_t* panel(std::int64_t index) const;
    const float* scale() const;                // [panels * 64], zeros beyond the output channels
    const std::int32_t* channel_sums() const;  // [panels * 64]: of a channel's integers

    // One panel's integers, exact in both types, for the products of ops/brgemm.h:
    // [taps, in, 64] and, pairs of input channels side by side, [taps, in / 2, 64, 2].
    void widen(std::int64_t index, float* out) const;
    void widen(std::int64_t index, at::BFloat16* out) const;

    // s W_q, as dequantize_int8 has it.
    at::Tensor dense(at::ScalarType type) const;

  private:
    void allocate();
    // make_rows(), once a thread: (first, count) -> `count` rows [in, taps] from `first` on.
    template <class Number, class MakeRows>
    void quantize(const MakeRows& make_rows);
    PackedWeight unpack() const;

    std::vector<std::int64_t> shape_;
    std::shared_ptr<void> pages_;  // the integers
    at::Tensor scale_;             // float32
    at::Tensor sums_;              // int32
};

}  // namespace zoodip
