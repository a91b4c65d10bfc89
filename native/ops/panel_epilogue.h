// From the sums of a panel product to its result: scales, bias, residual, GEGLU, rounding.
#pragma once

#include <cstdint>
#include <vector>

#include "ops/panel_product.h"

namespace zoodip {

// y = (sum - shift) * gain + bias, of each output channel, filled up to whole panels.
class Epilogue {
  public:
    // rows: of the result, [rows, out].
    Epilogue(const PanelProduct& product, std::int64_t rows);

    // The result, [rows, channels] contiguous.
    at::Tensor take() { return std::move(y_); }

    // `count` rows of the result from `row` on, of one panel. sums: [count, 64]; gate: those of
    // GEGLU's other half, or nullptr.
    void write(std::int64_t row, std::int64_t count, std::int64_t panel, const float* sums,
               const float* gate) const;
    void write(std::int64_t row, std::int64_t count, std::int64_t panel, const std::int32_t* sums,
               const std::int32_t* gate) const;

  private:
    void take_bias(const PanelProduct& product, std::int64_t rows, std::size_t padded);
    template <class Sum, class Out>
    void finish(std::int64_t row, std::int64_t count, std::int64_t panel, const Sum* sums,
                const Sum* gate, Out* y) const;
    template <class Sum>
    void choose(std::int64_t row, std::int64_t count, std::int64_t panel, const Sum* sums,
                const Sum* gate) const;

    std::int64_t channels_, panels_;
    std::vector<float> gain_, bias_;  // the bias of each of the bias's rows, one after another
    std::vector<std::int32_t> shift_;
    const float* residual_ = nullptr;
    std::int64_t residual_rows_ = 1;
    std::int64_t rows_a_bias_ = 1;  // rows of the result that have one row of the bias
    at::Tensor y_;
};

}  // namespace zoodip
