#include "ops/group_norm_cpu.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include <ATen/ops/empty_like.h>

#include "core/error.h"
#include "ops/parallel.h"

namespace zoodip {
namespace {

struct Shape {
    std::int64_t rows, channels, pixels, groups;
    std::int64_t width() const { return channels / groups; }  // channels of a group
};

constexpr std::int64_t piece = 256;  // pixels that are summed together

// sum and square [channels] += those of some pixels. In double: E[x^2] - E[x]^2 cancels, in float32
// to nothing where a group's values lie close together.
template <class Number>
void add_up(const Number* x, std::int64_t pixels, std::int64_t channels, double* sum,
            double* square) {
    for_cpu_isa([=] ZOODIP_INLINED {
        double* __restrict sums = sum;
        double* __restrict squares = square;
        for (std::int64_t pixel = 0; pixel < pixels; ++pixel) {
            const Number* values = x + pixel * channels;
            for (std::int64_t c = 0; c < channels; ++c) {
                const double value = widened(values[c]);
                sums[c] += value;
                squares[c] += value * value;
            }
        }
    });
}

// Mean and 1 / deviation of each group, [rows, groups].
struct Statistics {
    std::vector<double> mean, rstd;
};

template <class Number>
Statistics statistics(const Number* x, const Shape& shape, double eps) {
    const std::int64_t pieces = (shape.pixels + piece - 1) / piece, line = 2 * shape.channels;
    std::vector<double> sums(static_cast<std::size_t>(shape.rows * pieces * line));
    parallel_ranges(shape.rows * pieces, 1, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) {
            const std::int64_t row = i / pieces, first = i % pieces * piece;
            double* sum = sums.data() + i * line;
            add_up(x + (row * shape.pixels + first) * shape.channels,
                   std::min(piece, shape.pixels - first), shape.channels, sum,
                   sum + shape.channels);
        }
    });
    Statistics out;
    const double count = static_cast<double>(shape.width() * shape.pixels);
    for (std::int64_t group = 0; group < shape.rows * shape.groups; ++group) {
        const std::int64_t first = group % shape.groups * shape.width();
        const double* at = sums.data() + group / shape.groups * pieces * line;
        double sum = 0, square = 0;
        for (std::int64_t i = 0; i < pieces; ++i) {
            for (std::int64_t c = first; c < first + shape.width(); ++c) {
                sum += at[i * line + c];
                square += at[i * line + shape.channels + c];
            }
        }
        const double mean = sum / count;
        out.mean.push_back(mean);
        out.rstd.push_back(1 / std::sqrt(std::max(0.0, square / count - mean * mean) + eps));
    }
    return out;
}

template <class Number>
NormFactors fold(const Number* x, const Shape& shape, const GroupNormed& norm) {
    const auto* weight = norm.weight.const_data_ptr<float>();
    const auto* bias = norm.bias.const_data_ptr<float>();
    const Statistics found = statistics(x, shape, norm.eps);
    NormFactors factors{{}, {}, norm.silu};
    for (std::int64_t i = 0; i < shape.rows * shape.channels; ++i) {
        const std::int64_t c = i % shape.channels;
        const auto group =
            static_cast<std::size_t>(i / shape.channels * shape.groups + c / shape.width());
        const double gain = weight[c] * found.rstd[group];
        factors.gain.push_back(static_cast<float>(gain));
        factors.offset.push_back(static_cast<float>(bias[c] - gain * found.mean[group]));
    }
    return factors;
}

// x, whose memory is in order, -> y.
template <class Number>
void normalize(const Number* x, Number* y, const Shape& shape, const NormFactors& factors) {
    parallel_ranges(shape.rows * shape.pixels, 64, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t pixel = begin; pixel < end; ++pixel) {
            normalize_pixel(
                x + pixel * shape.channels, shape.channels, factors, pixel / shape.pixels,
                [](float value, Number* to) ZOODIP_INLINED { store(value, to); },
                y + pixel * shape.channels);
        }
    });
}

// dx = gain[row, channel] ds + slope[row, group] x + offset[row, group], ds being dL/d(the
// normalised, affine value).
struct Gradient {
    std::vector<float> gain, slope, offset;
};

// work(row, the group's first channel), each group on one thread.
template <class Work>
void for_each_group(const Shape& shape, const Work& work) {
    parallel_ranges(shape.rows * shape.groups, 1, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t task = begin; task < end; ++task) {
            work(task / shape.groups, (task % shape.groups) * shape.width());
        }
    });
}

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
    const Statistics found = statistics(x, shape, eps);
    const auto groups = static_cast<std::size_t>(shape.rows * shape.groups);
    Gradient gradient{std::vector<float>(static_cast<std::size_t>(shape.rows * shape.channels)),
                      std::vector<float>(groups), std::vector<float>(groups)};
    for_each_group(shape, [&](std::int64_t row, std::int64_t first) {
        const std::int64_t start = row * shape.pixels * shape.channels + first;
        double sum = 0, product = 0;
        gradient_sums(x + start, ds + start, shape, weight + first, &sum, &product);
        const double count = static_cast<double>(shape.width() * shape.pixels);
        const auto group = static_cast<std::size_t>(row * shape.groups + first / shape.width());
        const double mean = found.mean[group], rstd = found.rstd[group];
        const double correlation = rstd * (product - mean * sum) / count;
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
    parallel_ranges(shape.rows * shape.pixels, 64, [&](std::int64_t begin, std::int64_t end) {
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

// ds = dy silu'(s) of s, the norm of x: dL/ds.
template <class Number>
void differentiate_silu(const Number* dy, const Number* x, Number* ds, const Shape& shape,
                        const NormFactors& factors) {
    parallel_ranges(shape.rows * shape.pixels, 64, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t pixel = begin; pixel < end; ++pixel) {
            const std::int64_t channels = shape.channels, at = pixel * channels;
            const float* gain = factors.gain.data() + pixel / shape.pixels * channels;
            const float* offset = factors.offset.data() + pixel / shape.pixels * channels;
            for_cpu_isa([=] ZOODIP_INLINED {
                for (std::int64_t c = 0; c < channels; ++c) {
                    const float s = widened(x[at + c]) * gain[c] + offset[c], open = sigmoid(s);
                    store(widened(dy[at + c]) * (open * (1.0f + s * (1.0f - open))), ds + at + c);
                }
            });
        }
    });
}

Shape shape_of(const GroupNormed& norm) {
    return {norm.x.size(0), norm.x.size(1), norm.x.size(2) * norm.x.size(3), norm.groups};
}

// work(a null pointer to the type of x's numbers).
template <class Work>
auto for_numbers_of(const at::Tensor& x, const Work& work) {
    if (x.scalar_type() == at::kFloat) return work(static_cast<const float*>(nullptr));
    require(x.scalar_type() == at::kBFloat16, "group_norm: needs float32 or bfloat16, got ",
            x.toString());
    return work(static_cast<const at::BFloat16*>(nullptr));
}

GroupNormed ordered(const GroupNormed& norm) {
    GroupNormed out = norm;
    out.x = norm.x.contiguous(at::MemoryFormat::ChannelsLast);
    return out;
}

}  // namespace

NormFactors norm_factors(const GroupNormed& norm) {
    const GroupNormed in = ordered(norm);
    return for_numbers_of(in.x, [&]<class Number>(const Number*) {
        return fold(in.x.const_data_ptr<Number>(), shape_of(in), in);
    });
}

at::Tensor group_norm_cpu(const GroupNormed& norm) {
    const GroupNormed in = ordered(norm);
    at::Tensor y = at::empty_like(in.x);
    for_numbers_of(in.x, [&]<class Number>(const Number*) {
        const Number* x = in.x.const_data_ptr<Number>();
        normalize(x, y.mutable_data_ptr<Number>(), shape_of(in), fold(x, shape_of(in), in));
    });
    return y;
}

at::Tensor group_norm_cpu_backward(const at::Tensor& dy, const GroupNormed& norm) {
    const GroupNormed in = ordered(norm);
    at::Tensor ds = dy.to(in.x.scalar_type()).contiguous(at::MemoryFormat::ChannelsLast);
    at::Tensor dx = at::empty_like(in.x);
    for_numbers_of(in.x, [&]<class Number>(const Number*) {
        if (norm.silu) {
            const Number *x = in.x.const_data_ptr<Number>(), *slopes = ds.const_data_ptr<Number>();
            const at::Tensor before = ds;
            ds = at::empty_like(in.x);
            differentiate_silu(slopes, x, ds.mutable_data_ptr<Number>(), shape_of(in),
                               fold(x, shape_of(in), in));
        }
        propagate<Number>(ds, in.x, dx, shape_of(in), in.weight, in.eps);
    });
    return dx;
}

}  // namespace zoodip
