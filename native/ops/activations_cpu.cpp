#include "ops/activations_cpu.h"

#include <vector>

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include "core/error.h"
#include "ops/parallel.h"
#include "ops/vector_math.h"

namespace zoodip {
namespace {

// work(a null pointer to the type of x's numbers).
template <class Work>
at::Tensor for_numbers_of(const at::Tensor& x, const Work& work) {
    if (x.scalar_type() == at::kFloat) return work(static_cast<const float*>(nullptr));
    require(x.scalar_type() == at::kBFloat16, "activation: needs float32 or bfloat16, got ",
            x.toString());
    return work(static_cast<const at::BFloat16*>(nullptr));
}

// work(i) for rows of `length` numbers.
template <class Work>
void for_rows(const at::Tensor& x, std::int64_t length, const Work& work) {
    if (length == 0) return;
    parallel_rows(x.numel() / length, length, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t row = begin; row < end; ++row) work(row);
    });
}

// y = f(x), number by number.
template <class Function>
at::Tensor of_each(const at::Tensor& x, const Function& f) {
    const at::Tensor in = x.contiguous();
    at::Tensor y = at::empty_like(in);
    const std::int64_t length = in.size(-1);
    return for_numbers_of(in, [&]<class Number>(const Number*) {
        for_rows(in, length, [&](std::int64_t row) {
            const auto* from = in.const_data_ptr<Number>() + row * length;
            auto* to = y.mutable_data_ptr<Number>() + row * length;
            for_cpu_isa([=] ZOODIP_INLINED {
                for (std::int64_t i = 0; i < length; ++i) store(f(widened(from[i])), to + i);
            });
        });
        return y;
    });
}

// dx = dy slope(x).
template <class Slope>
at::Tensor of_each_backward(const at::Tensor& dy, const at::Tensor& x, const Slope& slope) {
    const at::Tensor in = x.contiguous(), given = dy.to(x.scalar_type()).contiguous();
    at::Tensor dx = at::empty_like(in);
    const std::int64_t length = in.size(-1);
    return for_numbers_of(in, [&]<class Number>(const Number*) {
        for_rows(in, length, [&](std::int64_t row) {
            const auto* from = in.const_data_ptr<Number>() + row * length;
            const auto* above = given.const_data_ptr<Number>() + row * length;
            auto* to = dx.mutable_data_ptr<Number>() + row * length;
            for_cpu_isa([=] ZOODIP_INLINED {
                for (std::int64_t i = 0; i < length; ++i) {
                    store(widened(above[i]) * slope(widened(from[i])), to + i);
                }
            });
        });
        return dx;
    });
}

constexpr float steepness = 1.702f;

}  // namespace

at::Tensor quick_gelu_cpu(const at::Tensor& x) {
    return of_each(x, [](float v) ZOODIP_INLINED { return v * sigmoid(steepness * v); });
}

at::Tensor quick_gelu_cpu_backward(const at::Tensor& dy, const at::Tensor& x) {
    return of_each_backward(dy, x, [](float v) ZOODIP_INLINED {
        const float s = sigmoid(steepness * v);
        return s * (1.0f + steepness * v * (1.0f - s));
    });
}

at::Tensor gelu_cpu(const at::Tensor& x) {
    return of_each(x, [](float v) ZOODIP_INLINED { return gelu(v); });
}

at::Tensor gelu_cpu_backward(const at::Tensor& dy, const at::Tensor& x) {
    return of_each_backward(
        dy, x, [](float v) ZOODIP_INLINED { return normal_cdf(v) + v * normal_pdf(v); });
}

at::Tensor geglu_cpu(const at::Tensor& x) {
    const at::Tensor in = x.contiguous();
    std::vector<std::int64_t> sizes = in.sizes().vec();
    const std::int64_t half = sizes.back() / 2;
    require(sizes.back() % 2 == 0, "geglu: needs two halves, got ", sizes.back(), " channels");
    sizes.back() = half;
    at::Tensor y = at::empty(sizes, in.options());
    return for_numbers_of(in, [&]<class Number>(const Number*) {
        for_rows(in, 2 * half, [&](std::int64_t row) {
            const auto* value = in.const_data_ptr<Number>() + row * 2 * half;
            auto* to = y.mutable_data_ptr<Number>() + row * half;
            for_cpu_isa([=] ZOODIP_INLINED {
                for (std::int64_t i = 0; i < half; ++i) {
                    store(widened(value[i]) * gelu(widened(value[half + i])), to + i);
                }
            });
        });
        return y;
    });
}

at::Tensor geglu_cpu_backward(const at::Tensor& dy, const at::Tensor& x) {
    const at::Tensor in = x.contiguous(), slopes = dy.to(x.scalar_type()).contiguous();
    const std::int64_t half = in.size(-1) / 2;
    require(slopes.numel() == in.numel() / 2 && in.size(-1) % 2 == 0, "geglu: the gradient ",
            concat(dy.sizes()), " does not fit ", concat(x.sizes()));
    at::Tensor dx = at::empty_like(in);
    return for_numbers_of(in, [&]<class Number>(const Number*) {
        for_rows(in, 2 * half, [&](std::int64_t row) {
            const auto* value = in.const_data_ptr<Number>() + row * 2 * half;
            const auto* slope = slopes.const_data_ptr<Number>() + row * half;
            auto* to = dx.mutable_data_ptr<Number>() + row * 2 * half;
            for_cpu_isa([=] ZOODIP_INLINED {
                for (std::int64_t i = 0; i < half; ++i) {
                    const float g = widened(slope[i]), gate = widened(value[half + i]);
                    const float below = normal_cdf(gate);
                    store(g * (gate * below), to + i);
                    store(g * widened(value[i]) * (below + gate * normal_pdf(gate)), to + half + i);
                }
            });
        });
        return dx;
    });
}

}  // namespace zoodip
