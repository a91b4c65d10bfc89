#include "zo/estimator.h"

#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>

#include "core/error.h"
#include "core/random.h"

namespace zoodip {

RandomGradientEstimator::RandomGradientEstimator(double mu) : mu_(mu) {
    require(std::isfinite(mu) && mu > 0, "rge: needs mu > 0, got ", mu);
}

at::Tensor RandomGradientEstimator::points(const at::Tensor& theta,
                                           const at::Tensor& directions) const {
    require(theta.dim() == 1 && directions.dim() == 2 && directions.size(0) >= 1 &&
                directions.size(1) == theta.size(0),
            "rge: needs theta [d] and directions [n >= 1, d], got ", concat(theta.sizes()), " and ",
            concat(directions.sizes()));
    return at::cat({theta.unsqueeze(0), theta + mu_ * directions});
}

at::Tensor RandomGradientEstimator::estimate(const at::Tensor& losses,
                                             const at::Tensor& directions) const {
    require(directions.dim() == 2 && directions.size(0) >= 1,
            "rge: needs directions [n >= 1, d], got ", concat(directions.sizes()));
    const std::int64_t n = directions.size(0);
    require(losses.dim() == 1 && losses.size(0) == n + 1, "rge: needs ", n + 1, " losses, got ",
            concat(losses.sizes()));
    const at::Tensor values = losses.to(at::kDouble);
    for (std::int64_t i = 0; i <= n; ++i) {
        const double value = values[i].item<double>();
        require(std::isfinite(value), "rge: loss ", i, " of ", n + 1, " is ", value,
                ". The word has left the range that the model can take");
    }
    const at::Tensor slopes = (values.slice(0, 1) - values[0]) / (mu_ * static_cast<double>(n));
    return at::matmul(slopes, directions.to(at::kDouble)).to(at::kFloat);
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
