// INT4 weights as the CPU's products read them.
#pragma once

#include <memory>

#include "ops/panel_source.h"
#include "ops/weight_codec.h"

namespace zoodip {

// [panels, taps, in / 4, 64] uint16: four input channels of an output channel, the first in the
// lowest bits; scales and shifts of the groups [panels, groups, 64].
class Int4Panels : public PanelSource {
  public:
    // What quantize_int4 made.
    explicit Int4Panels(const PackedWeight& packed);

    void widen(std::int64_t index, float* out) const override;
    void widen(std::int64_t index, at::BFloat16* out) const override;
    void widen_inputs(std::int64_t index, std::int64_t tap, std::int64_t first, std::int64_t count,
                      float* out) const override;
    at::Tensor dense(at::ScalarType type) const override;

  private:
    std::int64_t group_of(std::int64_t in, std::int64_t tap) const {
        return (in * taps() + tap) / group_;
    }
    const std::uint16_t* words(std::int64_t index, std::int64_t tap, std::int64_t in) const;

    std::int64_t group_ = 1, groups_ = 1;  // numbers of a group, groups of an output channel
    std::shared_ptr<void> pages_;          // the words
    std::vector<float> scale_, shift_;
};

}  // namespace zoodip
