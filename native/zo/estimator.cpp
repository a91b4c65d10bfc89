#include "zo/estimator.h"

#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>

#include "core/error.h"
#include "core/random.h"
#include "zo/checks.h"

namespace zoodip {
namespace {

void require_directions(const at::Tensor& directions) {
    require(directions.dim() == 2 && directions.size(0) >= 1 &&
                directions.scalar_type() == at::kFloat && directions.is_cpu(),
            "rge: needs directions as float32 [n >= 1, d] on the CPU, got ",
            describe_tensor(directions));
}

}  // namespace

RandomGradientEstimator::RandomGradientEstimator(double mu) : mu_(mu) {
    require(std::isfinite(mu) && mu > 0, "rge: needs mu > 0, got ", mu);
}

at::Tensor RandomGradientEstimator::points(const at::Tensor& theta,
                                           const at::Tensor& directions) const {
    require_directions(directions);
    require_vector("rge", "theta", theta, directions.size(1));
    return at::cat({theta.unsqueeze(0), theta + mu_ * directions});
}

at::Tensor RandomGradientEstimator::estimate(const at::Tensor& losses,
                                             const at::Tensor& directions) const {
    require_directions(directions);
    const std::int64_t n = directions.size(0);
    const bool precise = losses.scalar_type() == at::kFloat || losses.scalar_type() == at::kDouble;
    require(losses.dim() == 1 && losses.size(0) == n + 1 && precise && losses.is_cpu(),
            "rge: needs losses as float32 or float64 [", n + 1, "] on the CPU, got ",
            describe_tensor(losses));
    const at::Tensor values = losses.to(at::kDouble);
    for (std::int64_t i = 0; i <= n; ++i) {
        const double value = values[i].item<double>();
        require(std::isfinite(value), "rge: loss ", i, " of ", n + 1, " is ", value,
                i == 0 ? " at theta itself" : " at a perturbed theta",
                ". Lower the learning rate or mu, or compute the losses in float32");
    }
    const at::Tensor slopes = (values.slice(0, 1) - values[0]) / (mu_ * static_cast<double>(n));
    return at::matmul(slopes, directions.to(at::kDouble)).to(at::kFloat);
}

std::int64_t RandomGradientEstimator::passes(std::int64_t n) const {
    require(n >= 1, "rge: needs n >= 1, got ", n);
    return n + 1;
}

at::Tensor draw_directions(std::int64_t n, std::int64_t d, std::uint64_t seed, std::uint64_t step) {
    require(n >= 1 && d >= 1, "directions: needs n >= 1 and d >= 1, got ", n, " and ", d);
    at::Tensor out = at::empty({n, d}, at::kFloat);
    const RandomBlock block(seed, Stream::direction, step);
    const auto width = static_cast<std::size_t>(d);
    const std::uint64_t padded = width + width % 2;  // normals come in pairs
    for (std::int64_t i = 0; i < n; ++i) {
        block.fill_normal({out.mutable_data_ptr<float>() + i * d, width},
                          static_cast<std::uint64_t>(i) * padded);
    }
    return out;
}

}  // namespace zoodip
