#include "zo/estimator_checks.h"

#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/ops/matmul.h>

#include "core/error.h"

namespace zoodip {

double checked_mu(const char* op, double mu) {
    require(std::isfinite(mu) && mu > 0, op, ": needs mu > 0, got ", mu);
    return mu;
}

void require_count(const char* op, std::int64_t n) {
    require(n >= 1, op, ": needs n >= 1, got ", n);
}

void require_directions(const char* op, const at::Tensor& directions, std::int64_t least) {
    require(directions.dim() == 2 && directions.size(0) >= least &&
                directions.scalar_type() == at::kFloat && directions.is_cpu(),
            op, ": needs directions as float32 [n >= ", least, ", d] on the CPU, got ",
            describe_tensor(directions));
}

at::Tensor checked_losses(const char* op, const at::Tensor& losses, std::int64_t count,
                          const char* first) {
    const bool precise = losses.scalar_type() == at::kFloat || losses.scalar_type() == at::kDouble;
    require(losses.dim() == 1 && losses.size(0) == count && precise && losses.is_cpu(), op,
            ": needs losses as float32 or float64 [", count, "] on the CPU, got ",
            describe_tensor(losses));
    const at::Tensor values = losses.to(at::kDouble);
    for (std::int64_t i = 0; i < count; ++i) {
        const double value = values[i].item<double>();
        require(std::isfinite(value), op, ": loss ", i, " of ", count, " is ", value,
                i == 0 ? first : " at a perturbed theta",
                ". Lower the learning rate or mu, or compute the losses in float32");
    }
    return values;
}

at::Tensor combine(const at::Tensor& slopes, const at::Tensor& directions) {
    const at::Tensor mean = slopes / static_cast<double>(slopes.size(0));
    return at::matmul(mean, directions.to(at::kDouble)).to(at::kFloat);
}

}  // namespace zoodip
