// Products of activations with quantised weights on the CPU. Of INT8: y = s (x W_q^T) + bias, the
// integers W_q multiplied as they are and the scales of the output channels applied to the sums.
//
// Every output is summed over taps and input channels in one order, whatever the number of rows
// and threads: a row has the same bits at any place and beside any neighbours.
#pragma once

#include <cstdint>
#include <optional>

#include <ATen/core/Tensor.h>

#include "ops/group_normed.h"
#include "ops/panel_weight.h"

namespace zoodip {

struct NormFactors;

// What the inputs of a product are rounded to. The sums are float32, of int8 products int32.
// Numbers rounded to bfloat16 are multiplied in float32 where that is faster.
enum class ProductType { float32, bfloat16, int8 };

bool has_panel_product(ProductType type);  // on this processor

// x = scale (q - zero), q = clamp(round(x / scale) + zero, 0, 255)
struct ActivationScale {
    float scale = 0;
    std::int32_t zero = 0;
};

struct PanelProduct {
    const PanelSource& weight;
    ProductType type = ProductType::float32;
    ActivationScale activation{};  // of ProductType::int8
    at::Tensor bias{};      // float32 [out], or [rows, out] for each row of x its own, or undefined
    at::Tensor residual{};  // float32, added: of the result's shape, or with a single row
    at::ScalarType out = at::kFloat;  // float32 or bfloat16
    // The halves of the output channels are value and gate: value * gelu(gate), half as wide.
    bool geglu = false;

    // x: float32 or bfloat16 [..., in] -> [..., out].
    at::Tensor linear(const at::Tensor& x) const;
    // x: [rows, in, height, width] -> [rows, out, ...] in channels-last memory.
    at::Tensor conv2d(const at::Tensor& x, std::int64_t stride, std::int64_t padding) const;
    // The same of a norm's result, which is written nowhere but where the product reads it.
    at::Tensor conv2d(const GroupNormed& x, std::int64_t stride, std::int64_t padding) const;

  private:
    friend at::Tensor panel_gradient(const PanelProduct&, const at::Tensor&, at::IntArrayRef,
                                     std::int64_t, std::int64_t);
    at::Tensor image(const at::Tensor& x, const NormFactors* norm, std::int64_t stride,
                     std::int64_t padding) const;
};

// dL/dx of a product from dL/dy: of product.weight, product.type (not int8) and product.out the
// result is that of the weight turned round. Of a linear product dy is [..., out] and x [..., in];
// of a convolution dy is [rows, out, ...] and x, of size `x`, [rows, in, height, width].
at::Tensor panel_gradient(const PanelProduct& product, const at::Tensor& dy, at::IntArrayRef x,
                          std::int64_t stride, std::int64_t padding);

}  // namespace zoodip
