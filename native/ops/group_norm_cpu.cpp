#include "ops/group_norm_cpu.h"

#include <cmath>
#include <vector>

#include <ATen/Parallel.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/silu_backward.h>

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

// work(row, the group's first channel), each group on one thread.
template <class Work>
void for_each_group(const Shape& shape, const Work& work) {
    at::parallel_for(0, shape.rows * shape.groups, 1, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t task = begin; task < end; ++task) {
            work(task / shape.groups, (task % shape.groups) * shape.width());
        }
    });
}

template <class Number>
Affine fold(const Number* x, const Shape& shape, const float* weight, const float* bias,
            double eps) {
    const auto size = static_cast<std::size_t>(shape.rows * shape.channels);
    Affine affine{std::vector<float>(size), std::vector<float>(size)};
    for_each_group(shape, [&](std::int64_t row, std::int64_t first) {
        double mean = 0, rstd = 0;
        group_statistics(x + row * shape.pixels * shape.channels + first, shape, eps, &mean, &rstd);
        for (std::int64_t c = first; c < first + shape.width(); ++c) {
            const auto at = static_cast<std::size_t>(row * shape.channels + c);
            affine.gain[at] = static_cast<float>(weight[c] * rstd);
            affine.offset[at] = static_cast<float>(bias[c] - weight[c] * rstd * mean);
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

// dx = gain[row, channel] ds + slope[row, group] x + offset[row, group], ds being dL/d(the
// normalised, affine value).
struct Gradient {
    std::vector<float> gain, slope, offset;
};

// The sums over a group of g = weight ds and of g x.
template <class Number>
void gradient_sums(const Number* x, const Number* ds, const Shape& shape, const float* weight,
                   double* sum, double* product) {
    for (std::int64_t pixel = 0; pixel < shape.pixels; ++pixel) {
        for (std::int64_t c = 0; c < shape.width(); ++c) {
            const std::int64_t at = pixel * shape.channels + c;
            const double g = static_cast<double>(weight[c]) * static_cast<float>(ds[at]);
            *sum += g;
            *product += g * static_cast<float>(x[at]);
        }
    }
}

// With x^ = (x - mean) rstd: dx = rstd (g - mean(g) - x^ mean(g x^)), the means over the group.
template <class Number>
Gradient fold_gradient(const Number* x, const Number* ds, const Shape& shape, const float* weight,
                       double eps) {
    const auto groups = static_cast<std::size_t>(shape.rows * shape.groups);
    Gradient gradient{std::vector<float>(static_cast<std::size_t>(shape.rows * shape.channels)),
                      std::vector<float>(groups), std::vector<float>(groups)};
    for_each_group(shape, [&](std::int64_t row, std::int64_t first) {
        const std::int64_t start = row * shape.pixels * shape.channels + first;
        double mean = 0, rstd = 0, sum = 0, product = 0;
        group_statistics(x + start, shape, eps, &mean, &rstd);
        gradient_sums(x + start, ds + start, shape, weight + first, &sum, &product);
        const double count = static_cast<double>(shape.width() * shape.pixels);
        const double correlation = rstd * (product - mean * sum) / count;
        const auto group = static_cast<std::size_t>(row * shape.groups + first / shape.width());
        gradient.slope[group] = static_cast<float>(-rstd * rstd * correlation);
        gradient.offset[group] =
            static_cast<float>(rstd * (rstd * mean * correlation - sum / count));
        for (std::int64_t c = first; c < first + shape.width(); ++c) {
            gradient.gain[static_cast<std::size_t>(row * shape.channels + c)] =
                static_cast<float>(weight[c] * rstd);
        }
    });
    return gradient;
}

template <class Number>
void propagate(const at::Tensor& ds, const at::Tensor& x, at::Tensor& dx, const Shape& shape,
               const at::Tensor& weight, double eps) {
    const Number* from = ds.const_data_ptr<Number>();
    const Number* at_x = x.const_data_ptr<Number>();
    Number* to = dx.mutable_data_ptr<Number>();
    const Gradient gradient = fold_gradient(at_x, from, shape, weight.const_data_ptr<float>(), eps);
    at::parallel_for(0, shape.rows * shape.pixels, 64, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t pixel = begin; pixel < end; ++pixel) {
            const std::int64_t row = pixel / shape.pixels;
            const float* gain = gradient.gain.data() + row * shape.channels;
            const float* slope = gradient.slope.data() + row * shape.groups;
            const float* offset = gradient.offset.data() + row * shape.groups;
            for (std::int64_t group = 0, c = 0; group < shape.groups; ++group) {
                for (const std::int64_t last = c + shape.width(); c < last; ++c) {
                    const std::int64_t i = pixel * shape.channels + c;
                    to[i] = static_cast<Number>(
                        gain[c] * static_cast<float>(from[i]) +
                        (slope[group] * static_cast<float>(at_x[i]) + offset[group]));
                }
            }
        }
    });
}

Shape shape_of(const at::Tensor& x, std::int64_t groups) {
    return {x.size(0), x.size(1), x.size(2) * x.size(3), groups};
}

at::Tensor norm_alone(const at::Tensor& ordered, std::int64_t groups, const at::Tensor& weight,
                      const at::Tensor& bias, double eps) {
    const Shape shape = shape_of(ordered, groups);
    at::Tensor y = at::empty_like(ordered);
    if (ordered.scalar_type() == at::kFloat) {
        normalize<float>(ordered, y, shape, weight, bias, eps);
    } else if (ordered.scalar_type() == at::kBFloat16) {
        normalize<at::BFloat16>(ordered, y, shape, weight, bias, eps);
    } else {
        fail("group_norm: needs float32 or bfloat16, got ", ordered.toString());
    }
    return y;
}

}  // namespace

at::Tensor group_norm_cpu(const at::Tensor& x, std::int64_t groups, const at::Tensor& weight,
                          const at::Tensor& bias, double eps, bool silu) {
    at::Tensor y =
        norm_alone(x.contiguous(at::MemoryFormat::ChannelsLast), groups, weight, bias, eps);
    return silu ? at::silu_(y) : y;
}

at::Tensor group_norm_cpu_backward(const at::Tensor& dy, const at::Tensor& x, std::int64_t groups,
                                   const at::Tensor& weight, const at::Tensor& bias, double eps,
                                   bool silu) {
    const at::Tensor ordered = x.contiguous(at::MemoryFormat::ChannelsLast);
    at::Tensor ds = dy.to(x.scalar_type()).contiguous(at::MemoryFormat::ChannelsLast);
    if (silu) ds = at::silu_backward(ds, norm_alone(ordered, groups, weight, bias, eps));
    at::Tensor dx = at::empty_like(ordered);
    const Shape shape = shape_of(x, groups);
    if (x.scalar_type() == at::kFloat) {
        propagate<float>(ds, ordered, dx, shape, weight, eps);
    } else {
        propagate<at::BFloat16>(ds, ordered, dx, shape, weight, eps);
    }
    return dx;
}

}  // namespace zoodip
