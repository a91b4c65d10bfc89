#include "ops/layer_norm_cpu.h"

#include <cmath>

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include "core/error.h"
#include "ops/parallel.h"
#include "ops/vector_math.h"

namespace zoodip {
namespace {

constexpr std::int64_t lanes = 16;

ZOODIP_INLINED inline float sum_of(const float* lane) {
    float sum = 0;
    for (std::int64_t i = 0; i < lanes; ++i) sum += lane[i];
    return sum;
}

// The sum of value(i) over the channels.
template <class Value>
ZOODIP_INLINED inline float sum(std::int64_t channels, const Value& value) {
    float lane[lanes] = {};
    std::int64_t i = 0;
    for (; i + lanes <= channels; i += lanes) {
        for (std::int64_t j = 0; j < lanes; ++j) lane[j] += value(i + j);
    }
    for (std::int64_t j = 0; i + j < channels; ++j) lane[j] += value(i + j);
    return sum_of(lane);
}

struct Row {
    float mean, rstd;
};

template <class Number>
ZOODIP_INLINED inline Row statistics(const Number* x, std::int64_t channels, float eps) {
    const auto count = static_cast<float>(channels);
    const float mean =
        sum(channels, [x](std::int64_t i) ZOODIP_INLINED { return widened(x[i]); }) / count;
    const float square = sum(channels, [x, mean](std::int64_t i) ZOODIP_INLINED {
        const float off = widened(x[i]) - mean;
        return off * off;
    });
    return {mean, 1.0f / std::sqrt(square / count + eps)};
}

template <class Number, class Out>
void normalize(const Number* from, std::int64_t channels, const float* weight, const float* bias,
               float eps, Out* to) {
    for_cpu_isa([=] ZOODIP_INLINED {
        const Row row = statistics(from, channels, eps);
        for (std::int64_t i = 0; i < channels; ++i) {
            store((widened(from[i]) - row.mean) * row.rstd * weight[i] + bias[i], to + i);
        }
    });
}

// dx = rstd (g - mean(g) - x^ mean(g x^)) with g = weight dy and x^ the normalised x.
template <class Number>
void propagate(const Number* dy, const Number* x, std::int64_t channels, const float* weight,
               float eps, Number* dx) {
    for_cpu_isa([=] ZOODIP_INLINED {
        const Row row = statistics(x, channels, eps);
        const auto gradient = [=](std::int64_t i)
                                  ZOODIP_INLINED { return widened(dy[i]) * weight[i]; };
        const auto normal = [=](std::int64_t i)
                                ZOODIP_INLINED { return (widened(x[i]) - row.mean) * row.rstd; };
        const auto count = static_cast<float>(channels);
        const float mean = sum(channels, gradient) / count;
        const float slope =
            sum(channels, [=](std::int64_t i) ZOODIP_INLINED { return gradient(i) * normal(i); }) /
            count;
        for (std::int64_t i = 0; i < channels; ++i) {
            store(row.rstd * (gradient(i) - mean - normal(i) * slope), dx + i);
        }
    });
}

// work(a null pointer to the type of x's numbers).
template <class Work>
void for_type(at::ScalarType type, const Work& work) {
    if (type == at::kFloat) return work(static_cast<float*>(nullptr));
    require(type == at::kBFloat16, "layer_norm: needs float32 or bfloat16, got ",
            c10::toString(type));
    work(static_cast<at::BFloat16*>(nullptr));
}

void check(const at::Tensor& x, const at::Tensor& weight) {
    require(x.dim() > 0 && x.size(-1) == weight.numel() && weight.numel() > 0,
            "layer_norm: needs a weight for each of the channels, got ", weight.numel(), " for ",
            x.dim() > 0 ? x.size(-1) : 0);
}

}  // namespace

at::Tensor layer_norm_cpu(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                          double eps, at::ScalarType out) {
    check(x, weight);
    const at::Tensor in = x.contiguous();
    at::Tensor y = at::empty(in.sizes(), in.options().dtype(out));
    const std::int64_t channels = in.size(-1), rows = in.numel() / channels;
    for_type(in.scalar_type(), [&]<class Number>(Number*) {
        for_type(out, [&]<class Out>(Out*) {
            const auto* from = in.const_data_ptr<Number>();
            auto* to = y.mutable_data_ptr<Out>();
            parallel_rows(rows, channels, [&](std::int64_t begin, std::int64_t end) {
                for (std::int64_t row = begin; row < end; ++row) {
                    normalize(from + row * channels, channels, weight.const_data_ptr<float>(),
                              bias.const_data_ptr<float>(), static_cast<float>(eps),
                              to + row * channels);
                }
            });
        });
    });
    return y;
}

at::Tensor layer_norm_cpu_backward(const at::Tensor& dy, const at::Tensor& x,
                                   const at::Tensor& weight, double eps) {
    check(x, weight);
    const at::Tensor in = x.contiguous(), slopes = dy.to(x.scalar_type()).contiguous();
    at::Tensor dx = at::empty_like(in);
    const std::int64_t channels = in.size(-1), rows = in.numel() / channels;
    for_type(in.scalar_type(), [&]<class Number>(Number*) {
        parallel_rows(rows, channels, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t row = begin; row < end; ++row) {
                const std::int64_t at = row * channels;
                propagate(slopes.const_data_ptr<Number>() + at, in.const_data_ptr<Number>() + at,
                          channels, weight.const_data_ptr<float>(), static_cast<float>(eps),
                          dx.mutable_data_ptr<Number>() + at);
            }
        });
    });
    return dx;
}

}  // namespace zoodip
