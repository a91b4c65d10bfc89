#include "ops/layers.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/conv_transpose2d.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/gelu_backward.h>
#include <ATen/ops/group_norm.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/native_layer_norm.h>
#include <ATen/ops/native_layer_norm_backward.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/silu.h>
#include <ATen/record_function.h>

#include "core/error.h"
#include "ops/activations_cpu.h"
#include "ops/attention_cpu.h"
#include "ops/gradient.h"
#include "ops/group_norm_cpu.h"
#include "ops/layer_norm_cpu.h"
#include "ops/torch_threads.h"

namespace zoodip {
namespace {

at::Tensor in_type(const at::Tensor& parameter, const at::Tensor& like) {
    return parameter.defined() ? parameter.to(like.scalar_type()) : parameter;
}

// [rows, tokens, channels] -> [rows, heads, tokens, head width], a view.
at::Tensor split_heads(const at::Tensor& x, std::int64_t heads) {
    return x.view({x.size(0), x.size(1), heads, x.size(2) / heads}).transpose(1, 2);
}

at::Tensor channels_together(const at::Tensor& x) {
    return x.stride(-1) == 1 ? x : x.contiguous();
}

// For its gradient q, k, v and the result are kept, and one number a query.
at::Tensor attention_by_own_kernel(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                   std::int64_t heads) {
    const bool with_gradient = tracked({q, k, v});
    const at::Tensor queries = channels_together(q.detach());
    const at::Tensor keys = channels_together(k.detach()), values = channels_together(v.detach());
    const Attention forward = attention_cpu(queries, keys, values, heads, with_gradient);
    if (!with_gradient) return forward.out;
    const Attention kept{forward.out.detach(), forward.log2_sum_exp2};
    return differentiable([&] { return forward.out; }, {q, k, v},
                          [=](const at::Tensor& dy) -> Tensors {
                              const auto [dq, dk, dv] =
                                  attention_cpu_backward(dy, queries, keys, values, heads, kept);
                              return {dq, dk, dv};
                          });
}

at::Tensor dense_matrix(const FrozenWeight& weight, at::ScalarType type) {
    return weight.dense(type).view({weight.out_features(), -1});
}

// dx of the given height and width. A stride leaves several sizes with the same result; what the
// transposed convolution would fall short of `size` is added at the far edge.
at::Tensor conv2d_backward(const at::Tensor& dy, const FrozenWeight& weight,
                           const std::vector<std::int64_t>& size, std::int64_t stride,
                           std::int64_t padding) {
    std::vector<std::int64_t> added;
    for (std::size_t i = 0; i < 2; ++i) {
        const std::int64_t out = dy.size(static_cast<std::int64_t>(i) + 2);
        added.push_back(size[i] - ((out - 1) * stride - 2 * padding + weight.shape()[i + 2]));
    }
    return at::conv_transpose2d(dy, weight.dense(dy.scalar_type()), {}, stride, padding, added);
}

// Where there is no kernel of ours: in x's type.
at::Tensor plain_layer_norm_backward(const at::Tensor& dy, const at::Tensor& x,
                                     const at::Tensor& weight, const at::Tensor& bias, double eps) {
    const at::Tensor scale = in_type(weight, x), shift = in_type(bias, x);
    const auto shape = weight.sizes();
    const auto [y, mean, rstd] = at::native_layer_norm(x, shape, scale, shift, eps);
    return std::get<0>(at::native_layer_norm_backward(dy, x, shape, mean, rstd, scale, shift,
                                                      {true, false, false}));
}

at::Tensor plain_geglu(const at::Tensor& x) {
    const auto halves = x.chunk(2, -1);
    return halves[0] * at::gelu(halves[1]);
}

at::Tensor geglu_backward(const at::Tensor& dy, const at::Tensor& x) {
    if (x.is_cpu()) return geglu_cpu_backward(dy, x);
    at::Tensor dx = at::empty_like(x);
    const auto halves = x.chunk(2, -1), gradients = dx.chunk(2, -1);
    at::Tensor value = gradients[0], gate = gradients[1];
    at::gelu_out(value, halves[1]).mul_(dy);
    at::gelu_backward_out(gate, dy * halves[0], halves[1]);
    return dx;
}

// A Linear or Conv2d layer.
struct Layer {
    FrozenWeight weight;
    at::Tensor bias;
    bool image = false;  // whether it is a convolution
    std::int64_t stride = 1, padding = 0;

    // The memory of a residual as rows of channels.
    at::Tensor rows_of(const at::Tensor& residual) const {
        if (!residual.defined()) return residual;
        const std::int64_t channels = weight.out_features();
        require(residual.dim() > 1 && residual.size(image ? 1 : -1) == channels, name(),
                ": the residual ", concat(residual.sizes()), " does not fit ", channels,
                " output channels");
        return image ? residual.contiguous(at::MemoryFormat::ChannelsLast) : residual.contiguous();
    }

    // What a profiler is told: of the weight its shape.
    const char* name() const { return image ? "zoodip::conv2d" : "zoodip::linear"; }
    std::vector<c10::IValue> arguments(const at::Tensor& x) const {
        const auto shape = at::empty(weight.shape(), at::TensorOptions(at::kMeta));
        return {x, shape, bias, stride, padding};
    }

    // For torch's own operators. Small products are not worth waking OpenMP's threads, which spin
    // on beside the next kernel.
    int torch_threads() const { return weight.at_an_end() ? 1 : threads_of_pool(); }

    // dL/dx of dL/dy.
    at::Tensor backward(const at::Tensor& dy, const at::Tensor& x) const {
        if (weight.panels() != nullptr && (!image || weight.panels()->kernel() > padding)) {
            const bool rounded = weight.input_type(dy.scalar_type()) == at::kBFloat16;
            const ProductType type = rounded ? ProductType::bfloat16 : ProductType::float32;
            return panel_gradient(
                {.weight = *weight.panels(), .type = type, .out = x.scalar_type()}, dy, x.sizes(),
                stride, padding);
        }
        const TorchThreads threads(torch_threads());
        // Row by row: torch divides its sums by how many rows there are.
        std::vector<at::Tensor> rows;
        for (std::int64_t row = 0; row < dy.size(0); ++row) {
            rows.push_back(plain_backward(dy.narrow(0, row, 1), x));
        }
        return rows.size() == 1 ? rows.front() : at::cat(rows);
    }
    at::Tensor plain_backward(const at::Tensor& dy, const at::Tensor& x) const {
        const at::Tensor in = dy.to(weight.input_type(dy.scalar_type()));
        if (image) return conv2d_backward(in, weight, x.sizes().slice(2).vec(), stride, padding);
        return at::matmul(in, dense_matrix(weight, in.scalar_type()));
    }
};

// By torch's own operators, for weights and devices without a kernel of ours; in x's type.
at::Tensor plain_product(const Layer& layer, const at::Tensor& x) {
    const bool own_biases = layer.bias.defined() && layer.bias.dim() == 2;
    if (own_biases || (layer.weight.at_an_end() && x.size(0) > 1)) {
        // Each row by itself: with its own bias in the product, and rounded as one row alone, for
        // which torch takes another kernel than for several.
        std::vector<at::Tensor> rows;
        for (std::int64_t row = 0; row < x.size(0); ++row) {
            Layer own = layer;
            if (own_biases) own.bias = layer.bias[row];
            rows.push_back(plain_product(own, x.slice(0, row, row + 1)));
        }
        return at::cat(rows);
    }
    const TorchThreads threads(layer.torch_threads());
    const at::Tensor in = x.to(layer.weight.input_type(x.scalar_type()));
    const at::Tensor bias = in_type(layer.bias, in);
    const at::Tensor y = layer.image
                             ? at::conv2d(in, layer.weight.dense(in.scalar_type()), bias,
                                          layer.stride, layer.padding)
                             : at::linear(in, dense_matrix(layer.weight, in.scalar_type()), bias);
    return y.to(x.scalar_type());
}

// What an own product's inputs are rounded to, with the scale of integers.
struct Rounded {
    ProductType type;
    ActivationScale scale{};
};

PanelProduct panel_product(const Layer& layer, const Rounded& rounded, const Finish& finish,
                           at::ScalarType out) {
    return {*layer.weight.panels(),
            rounded.type,
            rounded.scale,
            layer.bias,
            layer.rows_of(finish.residual),
            finish.out.value_or(out),
            finish.geglu};
}

at::Tensor multiply(const Layer& layer, const at::Tensor& x, const Rounded& rounded,
                    const Finish& finish) {
    const PanelProduct product = panel_product(layer, rounded, finish, x.scalar_type());
    return layer.image ? product.conv2d(x, layer.stride, layer.padding) : product.linear(x);
}

Calibration calibration_of(const FrozenWeight& weight) {
    return weight.activation() ? weight.activation()->calibration() : Calibration::off;
}

// Outside of a calibration.
Rounded rounding_of(const FrozenWeight& weight, at::ScalarType activations) {
    const auto& activation = weight.activation();
    const bool integers = calibration_of(weight) == Calibration::done && activation->ready();
    if (integers) return {ProductType::int8, activation->scale()};
    const bool rounded = weight.input_type(activations) == at::kBFloat16;
    return {rounded ? ProductType::bfloat16 : ProductType::float32};
}

// The product on the CPU by our own kernels, and what calibration wants to know of it.
at::Tensor own_product(const Layer& layer, const at::Tensor& x, const Finish& finish) {
    LayerActivation* activation = layer.weight.activation().get();
    const Calibration calibration = calibration_of(layer.weight);
    if (calibration == Calibration::observe || calibration == Calibration::compare) {
        activation->observe(x);
    }
    const at::Tensor y = multiply(layer, x, rounding_of(layer.weight, x.scalar_type()), finish);
    if (calibration == Calibration::compare && activation->ready()) {
        activation->compare(y,
                            multiply(layer, x, {ProductType::int8, activation->scale()}, finish));
    }
    return y;
}

// Whether the product's own pass can finish it. A comparison is of products as they are.
bool suits(const Finish& finish, const FrozenWeight& weight) {
    if (calibration_of(weight) == Calibration::compare) return false;
    const at::Tensor& residual = finish.residual;
    if (finish.geglu && residual.defined()) return false;
    return !(finish.geglu && weight.out_features() % (2 * PanelSource::width) != 0) &&
           !(residual.defined() && (residual.scalar_type() != at::kFloat || tracked(residual)));
}

at::Tensor product_without_graph(const Layer& layer, const at::Tensor& x, const Finish& finish) {
    const bool own = layer.weight.panels() != nullptr;
    if (own && suits(finish, layer.weight)) return own_product(layer, x, finish);
    at::Tensor y = own ? own_product(layer, x, {}) : plain_product(layer, x);
    if (finish.geglu) y = geglu(y);
    if (finish.residual.defined()) y = finish.residual + y;
    return finish.out ? y.to(*finish.out) : y;
}

void require_fits(const GroupNormed& norm) {
    const at::Tensor& x = norm.x;
    require(x.dim() == 4 && x.size(1) % norm.groups == 0 && norm.weight.numel() == x.size(1) &&
                norm.bias.numel() == x.size(1),
            "group_norm: needs channels divisible by ", norm.groups,
            " and a weight and a bias for each, got ", x.dim() == 4 ? x.size(1) : -1, " channels, ",
            norm.weight.numel(), " weights and ", norm.bias.numel(), " biases");
}

// Of a norm that the product's own pass makes, where it can; undefined where it cannot.
at::Tensor product_of_norm(const Layer& layer, const GroupNormed& norm, const Finish& finish) {
    const Calibration calibration = calibration_of(layer.weight);
    const bool watched = calibration != Calibration::off && calibration != Calibration::done;
    if (layer.weight.panels() == nullptr || tracked({norm.x, layer.bias}) || watched ||
        !suits(finish, layer.weight)) {
        return {};
    }
    require_fits(norm);
    RECORD_FUNCTION(layer.name(), layer.arguments(norm.x));
    const at::ScalarType type = norm.x.scalar_type();
    return panel_product(layer, rounding_of(layer.weight, type), finish, type)
        .conv2d(norm, layer.stride, layer.padding);
}

at::Tensor with_shift(const at::Tensor& bias, const Finish& finish) {
    if (!finish.shift.defined()) return bias;
    return bias.defined() ? bias + finish.shift : finish.shift;
}

// A shift for each row makes rows of a single one: what is multiplied for all of them must round as
// what is multiplied for one alone.
at::Tensor rows_for(const at::Tensor& x, const Finish& finish) {
    if (!finish.shift.defined() || finish.shift.dim() != 2) return x;
    const std::int64_t rows = finish.shift.size(0);
    require(x.size(0) == rows || x.size(0) == 1, "shift: has ", rows, " rows, the activation ",
            x.size(0));
    if (x.size(0) == rows) return x;
    std::vector<std::int64_t> sizes = x.sizes().vec();
    sizes.front() = rows;
    return x.expand(sizes);
}

// dL/dbias of dL/dy.
at::Tensor bias_backward(const at::Tensor& dy, const at::Tensor& bias, bool image) {
    at::Tensor sum = dy.to(at::kFloat);
    if (image) {
        sum = sum.sum(at::IntArrayRef{2, 3});
    } else if (sum.dim() > 2) {
        sum = sum.flatten(1, -2).sum(1);
    }
    return bias.dim() == 2 && bias.size(0) > 1 ? sum : sum.sum(0).view(bias.sizes());
}

// [rows, channels, height, width] -> [rows, height * width, channels], which channels-last memory
// is already.
at::Tensor tokens(const at::Tensor& x) {
    return x.permute({0, 2, 3, 1}).flatten(1, 2);
}

at::Tensor product(const Layer& layer, const at::Tensor& x, const Finish& finish) {
    RECORD_FUNCTION(layer.name(), layer.arguments(x));
    if (!tracked({x, layer.bias})) return product_without_graph(layer, x, finish);
    require(!layer.weight.activation(),
            "gradient: products of integers (compute int8) have none; use compute bf16 or fp32");
    const Finish inner{.geglu = finish.geglu, .out = finish.out};
    const auto forward = [&] { return product_without_graph(layer, x, inner); };
    Layer kept = layer;
    kept.bias = layer.bias.defined() ? layer.bias.detach() : layer.bias;
    const bool of_x = tracked(x), of_bias = tracked(layer.bias);
    const Tensors inputs = of_bias ? Tensors{x, layer.bias} : Tensors{x};
    const at::Tensor y = differentiable(
        forward, inputs,
        [=, geglu = finish.geglu, layer = kept, x = x.detach()](const at::Tensor& dy) -> Tensors {
            at::Tensor dp = dy;
            if (geglu)
                dp = geglu_backward(dy.to(x.scalar_type()), product_without_graph(layer, x, {}));
            Tensors gradients{of_x ? layer.backward(dp, x).to(x.scalar_type()) : at::Tensor()};
            if (of_bias) gradients.push_back(bias_backward(dp, layer.bias, layer.image));
            return gradients;
        });
    return finish.residual.defined() ? finish.residual + y : y;
}

}  // namespace

at::Tensor linear(const at::Tensor& x, const FrozenWeight& weight, const at::Tensor& bias,
                  const Finish& finish) {
    require(x.size(-1) == weight.in_features(), "linear: weight has ", weight.in_features(),
            " inputs, activation has ", x.size(-1));
    return product({weight, with_shift(bias, finish)}, rows_for(x, finish), finish);
}

at::Tensor conv2d(const at::Tensor& x, const FrozenWeight& weight, const at::Tensor& bias,
                  std::int64_t stride, std::int64_t padding, const Finish& finish) {
    require(x.dim() == 4 && x.size(1) == weight.in_features(), "conv2d: weight has ",
            weight.in_features(), " input channels, activation has ",
            x.dim() == 4 ? x.size(1) : -1);
    return product({weight, with_shift(bias, finish), true, stride, padding}, rows_for(x, finish),
                   finish);
}

at::Tensor conv2d(const GroupNormed& x, const FrozenWeight& weight, const at::Tensor& bias,
                  std::int64_t stride, std::int64_t padding, const Finish& finish) {
    GroupNormed of_rows = x;
    of_rows.x = rows_for(x.x, finish);
    const at::Tensor y =
        product_of_norm({weight, with_shift(bias, finish), true, stride, padding}, of_rows, finish);
    return y.defined() ? y : conv2d(group_norm(x), weight, bias, stride, padding, finish);
}

at::Tensor linear(const GroupNormed& x, const FrozenWeight& weight, const at::Tensor& bias,
                  const Finish& finish) {
    const at::Tensor y = product_of_norm({weight, with_shift(bias, finish)}, x, finish);
    return y.defined() ? tokens(y) : linear(tokens(group_norm(x)), weight, bias, finish);
}

at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     std::int64_t heads, bool causal) {
    RECORD_FUNCTION("zoodip::attention", std::vector<c10::IValue>({q, k, v}));
    require(q.size(-1) % heads == 0, "attention: ", heads, " heads do not divide ", q.size(-1),
            " channels");
    if (q.is_cpu() && !causal && has_attention_cpu(q.scalar_type())) {
        return attention_by_own_kernel(q, k, v, heads);
    }
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

at::Tensor group_norm(const GroupNormed& norm) {
    const at::Tensor& x = norm.x;
    require_fits(norm);
    if (!x.is_cpu()) {
        const at::Tensor y = at::group_norm(x, norm.groups, in_type(norm.weight, x),
                                            in_type(norm.bias, x), norm.eps);
        return norm.silu ? at::silu(y) : y;
    }
    if (!tracked(x)) return group_norm_cpu(norm);
    GroupNormed kept = norm;
    kept.x = x.detach();
    return differentiable(
        [&] { return group_norm_cpu(norm); }, {x},
        [kept](const at::Tensor& dy) -> Tensors { return {group_norm_cpu_backward(dy, kept)}; });
}

at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                      double eps, std::optional<at::ScalarType> out) {
    const at::ScalarType type = out.value_or(x.scalar_type());
    const auto norm = [&] {
        if (x.is_cpu()) return layer_norm_cpu(x, weight, bias, eps, type);
        return at::layer_norm(x, weight.sizes(), in_type(weight, x), in_type(bias, x), eps)
            .to(type);
    };
    if (!tracked(x)) return norm();
    return differentiable(norm, {x}, [=, x = x.detach()](const at::Tensor& dy) -> Tensors {
        if (x.is_cpu()) return {layer_norm_cpu_backward(dy, x, weight, eps)};
        return {plain_layer_norm_backward(dy.to(x.scalar_type()), x, weight, bias, eps)};
    });
}

at::Tensor quick_gelu(const at::Tensor& x) {
    if (!x.is_cpu()) return x * at::sigmoid(1.702 * x);
    if (!tracked(x)) return quick_gelu_cpu(x);
    return differentiable([&] { return quick_gelu_cpu(x); }, {x},
                          [x = x.detach()](const at::Tensor& dy) -> Tensors {
                              return {quick_gelu_cpu_backward(dy, x)};
                          });
}

at::Tensor gelu(const at::Tensor& x) {
    if (!x.is_cpu()) return at::gelu(x);
    if (!tracked(x)) return gelu_cpu(x);
    return differentiable(
        [&] { return gelu_cpu(x); }, {x},
        [x = x.detach()](const at::Tensor& dy) -> Tensors { return {gelu_cpu_backward(dy, x)}; });
}

at::Tensor geglu(const at::Tensor& x) {
    const auto product = [&] { return x.is_cpu() ? geglu_cpu(x) : plain_geglu(x); };
    if (!tracked(x)) return product();
    return differentiable(product, {x}, [x = x.detach()](const at::Tensor& dy) -> Tensors {
        return {geglu_backward(dy, x)};
    });
}

}  // namespace zoodip
