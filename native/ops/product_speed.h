// What products cost on this machine, found by making them.
#pragma once

#include <cstdint>
#include <vector>

#include "ops/panel_product.h"

namespace zoodip {

struct ProductCase {
    std::vector<std::int64_t> weight;  // [out, in] or [out, in, kernel, kernel]
    std::int64_t rows = 1, height = 1,
                 width = 1;  // of x; of [out, in] rows * height * width tokens
    std::int64_t stride = 1;
};

// Seconds of the fastest of some runs, on the threads of this thread's pool, with random numbers.
// INT8 weights; has_panel_product(type) holds.
class ProductSpeed {
  public:
    explicit ProductSpeed(const ProductCase& of);
    double forward(ProductType type) const;
    double backward(ProductType type) const;  // dL/dx; not int8

  private:
    ProductCase case_;
    PanelWeight weight_;
    at::Tensor x_, y_;  // y_: of the shape of the result
};

// Of one self-attention over rows of `tokens` tokens, with the type that activations have.
double attention_seconds(std::int64_t rows, std::int64_t tokens, std::int64_t channels,
                         std::int64_t heads, at::ScalarType type);

}  // namespace zoodip
