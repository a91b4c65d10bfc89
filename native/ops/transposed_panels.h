// A weight turned round for gradients: of a product y = x W, dx = dy W^T is a product as well, with
// inputs and outputs changed for each other and the kernel read backwards. Panels are made from
// those of the weight as they are needed; nothing is kept.
#pragma once

#include "ops/panel_source.h"

namespace zoodip {

// What it multiplies must bring the weight's gain() along: here it lies on the inputs.
class TransposedPanels : public PanelSource {
  public:
    // The weight must outlive it.
    explicit TransposedPanels(const PanelSource& weight);

    void widen(std::int64_t index, float* out) const override;
    void widen(std::int64_t index, at::BFloat16* out) const override;
    void widen_inputs(std::int64_t index, std::int64_t tap, std::int64_t first, std::int64_t count,
                      float* out) const override;
    at::Tensor dense(at::ScalarType type) const override;

  private:
    const PanelSource& weight_;
};

}  // namespace zoodip
