#include "ops/group_norm_cpu.h"

#include <cmath>
#include <vector>

#include <ATen/Parallel.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/silu.h>

#include "core/error.h"

namespace zoodip {
namespace {

struct Shape {
    std::int64_t rows, channels, pixels, groups;
    std::int64_t width() const { return channels / groups; }  // channels of a group
};

// y = x * gain[row, channel] + offset[row, channel] is the normalised, affine value.
struct Affine {
    std::vector<float> gain, offset;
};

// Mean and 1 / deviation of one group, summed in double: E[x^2] - E[x]^2 cancels, in float32 to
// nothing where a group's values lie close together.
template <class Number>
void group_statistics(const Number* x, const Shape& shape, double eps, double* mean, double* rstd) {
    double sum = 0, square = 0;
    for (std::int64_t pixel = 0; pixel < shape.pixels; ++pixel) {
        const Number* values = x + pixel * shape.channels;
        for (std::int64_t c = 0; c < shape.width(); ++c) {
            const double value = static_cast<float>(values[c]);
            sum += value;
            square += value * value;
        }
    }
    const double count = static_cast<double>(shape.width() * shape.pixels);
    *mean = sum / count;
    *rstd = 1 / std::sqrt(std::max(0.0, square / count - *mean * *mean) + eps);
}

template <class Number>
Affine fold(const Number* x, const Shape& shape, const float* weight, const float* bias,
            double eps) {
    const auto size = static_cast<std::size_t>(shape.rows * shape.channels);
    Affine affine{std::vector<float>(size), std::vector<float>(size)};
    at::parallel_for(0, shape.rows * shape.groups, 1, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t task = begin; task < end; ++task) {
            const std::int64_t row = task / shape.groups;
            const std::int64_t first = (task % shape.groups) * shape.width();
            double mean = 0, rstd = 0;
            group_statistics(x + row * shape.pixels * shape.channels + first, shape, eps, &mean,
                             &rstd);
            for (std::int64_t c = first; c < first + shape.width(); ++c) {
                const auto at = static_cast<std::size_t>(row * shape.channels + c);
                affine.gain[at] = static_cast<float>(weight[c] * rstd);
                affine.offset[at] = static_cast<float>(bias[c] - weight[c] * rstd * mean);
            }
        }
    });
    return affine;
}

template <class Number>
void normalize(const at::Tensor& x, at::Tensor& y, const Shape& shape, const at::Tensor& weight,
               const at::Tensor& bias, double eps) {
    const Number* in = x.const_data_ptr<Number>();
    Number* out = y.mutable_data_ptr<Number>();
    const Affine affine =
        fold(in, shape, weight.const_data_ptr<float>(), bias.const_data_ptr<float>(), eps);
    at::parallel_for(0, shape.rows * shape.pixels, 64, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t pixel = begin; pixel < end; ++pixel) {
            const float* gain = affine.gain.data() + pixel / shape.pixels * shape.channels;
            const float* offset = affine.offset.data() + pixel / shape.pixels * shape.channels;
            const Number* from = in + pixel * shape.channels;
            Number* to = out + pixel * shape.channels;
            for (std::int64_t c = 0; c < shape.channels; ++c) {
                to[c] = static_cast<Number>(static_cast<float>(from[c]) * gain[c] + offset[c]);
            }
        }
    });
}

}  // namespace

at::Tensor group_norm_cpu(const at::Tensor& x, std::int64_t groups, const at::Tensor& weight,
                          const at::Tensor& bias, double eps, bool silu) {
    const at::Tensor ordered = x.contiguous(at::MemoryFormat::ChannelsLast);
    const Shape shape{x.size(0), x.size(1), x.size(2) * x.size(3), groups};
    at::Tensor y = at::empty_like(ordered);
    if (x.scalar_type() == at::kFloat) {
        normalize<float>(ordered, y, shape, weight, bias, eps);
    } else if (x.scalar_type() == at::kBFloat16) {
        normalize<at::BFloat16>(ordered, y, shape, weight, bias, eps);
    } else {
        fail("group_norm: needs float32 or bfloat16, got ", x.toString());
    }
    return silu ? at::silu_(y) : y;
}

}  // namespace zoodip
