#include "ops/layers.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/group_norm.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/silu.h>

#include "core/error.h"
#include "ops/group_norm_cpu.h"

namespace zoodip {
namespace {

at::Tensor in_type(const at::Tensor& parameter, const at::Tensor& like) {
    return parameter.defined() ? parameter.to(like.scalar_type()) : parameter;
}

// [rows, tokens, channels] -> [rows, heads, tokens, head width], a view.
at::Tensor split_heads(const at::Tensor& x, std::int64_t heads) {
    return x.view({x.size(0), x.size(1), heads, x.size(2) / heads}).transpose(1, 2);
}

}  // namespace

at::Tensor linear(const at::Tensor& x, const FrozenWeight& weight, const at::Tensor& bias) {
    require(x.size(-1) == weight.in_features(), "linear: weight has ", weight.in_features(),
            " inputs, activation has ", x.size(-1));
    return at::linear(x, weight.dense(x.scalar_type()).view({weight.out_features(), -1}),
                      in_type(bias, x));
}

at::Tensor conv2d(const at::Tensor& x, const FrozenWeight& weight, const at::Tensor& bias,
                  std::int64_t stride, std::int64_t padding) {
    require(x.dim() == 4 && x.size(1) == weight.in_features(), "conv2d: weight has ",
            weight.in_features(), " input channels, activation has ",
            x.dim() == 4 ? x.size(1) : -1);
    return at::conv2d(x, weight.dense(x.scalar_type()), in_type(bias, x), stride, padding);
}

at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     std::int64_t heads, bool causal) {
    require(q.size(-1) % heads == 0, "attention: ", heads, " heads do not divide ", q.size(-1),
            " channels");
    const std::int64_t rows = std::max(q.size(0), k.size(0));
    const auto expand = [&](const at::Tensor& x) {
        require(x.size(0) == rows || x.size(0) == 1, "attention: needs ", rows, " rows or 1, got ",
                x.size(0));
        return split_heads(x, heads).expand({rows, -1, -1, -1});
    };
    const at::Tensor out = at::scaled_dot_product_attention(expand(q), expand(k), expand(v), {},
                                                            /*dropout_p=*/0.0, causal);
    return out.transpose(1, 2).reshape({rows, q.size(1), q.size(2)});
}

at::Tensor group_norm(const at::Tensor& x, std::int64_t groups, const at::Tensor& weight,
                      const at::Tensor& bias, double eps, bool silu) {
    require(x.dim() == 4 && x.size(1) % groups == 0 && weight.size(0) == x.size(1),
            "group_norm: needs channels divisible by ", groups, " and a weight for each, got ",
            x.dim() == 4 ? x.size(1) : -1, " channels and ", weight.size(0), " weights");
    if (x.is_cpu()) return group_norm_cpu(x, groups, weight, bias, eps, silu);
    const at::Tensor y = at::group_norm(x, groups, in_type(weight, x), in_type(bias, x), eps);
    return silu ? at::silu(y) : y;
}

at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                      double eps) {
    return at::layer_norm(x, weight.sizes(), in_type(weight, x), in_type(bias, x), eps);
}

at::Tensor quick_gelu(const at::Tensor& x) {
    return x * at::sigmoid(1.702 * x);
}

at::Tensor geglu(const at::Tensor& x) {
    const auto halves = x.chunk(2, -1);
    return halves[0] * at::gelu(halves[1]);
}

}  // namespace zoodip
