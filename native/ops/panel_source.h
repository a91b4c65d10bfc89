// A weight as the CPU's products read it: panels of 64 output channels, whose numbers are made, a
// panel at a time, from what they are kept in.
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>
#include <c10/util/BFloat16.h>

namespace zoodip {

class PanelWeight;

// [out, in] or [out, in, kernel, kernel]; channels are filled up with zeros to whole panels and
// fours.
class PanelSource {
  public:
    static constexpr std::int64_t width = 64;  // output channels of a panel

    virtual ~PanelSource() = default;

    const std::vector<std::int64_t>& shape() const { return shape_; }
    std::int64_t out_features() const { return shape_[0]; }
    std::int64_t in_features() const { return shape_[1]; }
    std::int64_t kernel() const { return shape_.size() == 4 ? shape_[2] : 1; }
    std::int64_t taps() const { return kernel() * kernel(); }  // places of the kernel
    std::int64_t padded_in() const { return (in_features() + 3) / 4 * 4; }
    std::int64_t panels() const { return (out_features() + width - 1) / width; }
    std::int64_t panel_size() const { return taps() * padded_in() * width; }

    // One panel's numbers for the products of ops/brgemm.h: [taps, in, 64] and, pairs of input
    // channels side by side, [taps, in / 2, 64, 2]. Times gain() they are the weight.
    virtual void widen(std::int64_t index, float* out) const = 0;
    virtual void widen(std::int64_t index, at::BFloat16* out) const = 0;
    // `count` input channels of a panel at one tap: [count, 64]; channels from in_features() on are
    // not asked for.
    virtual void widen_inputs(std::int64_t index, std::int64_t tap, std::int64_t first,
                              std::int64_t count, float* out) const = 0;
    // Of the output channels, [panels * 64]; nullptr where it is 1.
    virtual const float* gain() const { return nullptr; }
    // What it is if its numbers are integers that can be multiplied with integers.
    virtual const PanelWeight* integers() const { return nullptr; }

    // The weight in one piece, of its shape; 4-D in channels-last memory.
    virtual at::Tensor dense(at::ScalarType type) const = 0;

  protected:
    PanelSource() = default;
    // Throws Error for a shape that is none of the two.
    explicit PanelSource(std::vector<std::int64_t> shape);
    PanelSource(const PanelSource&) = default;
    PanelSource(PanelSource&&) = default;
    PanelSource& operator=(const PanelSource&) = default;
    PanelSource& operator=(PanelSource&&) = default;

  private:
    std::vector<std::int64_t> shape_;
};

}  // namespace zoodip
