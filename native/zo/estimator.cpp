#include "zo/estimator.h"

#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/matmul.h>

#include "core/error.h"
#include "zo/checks.h"

namespace zoodip {
namespace {

double checked_mu(const char* op, double mu) {
    require(std::isfinite(mu) && mu > 0, op, ": needs mu > 0, got ", mu);
    return mu;
}

void require_count(const char* op, std::int64_t n) {
    require(n >= 1, op, ": needs n >= 1, got ", n);
}

// float32 [at least `least`, d] on the CPU.
void require_directions(const char* op, const at::Tensor& directions, std::int64_t least) {
    require(directions.dim() == 2 && directions.size(0) >= least &&
                directions.scalar_type() == at::kFloat && directions.is_cpu(),
            op, ": needs directions as float32 [n >= ", least, ", d] on the CPU, got ",
            describe_tensor(directions));
}

// The losses in float64. Throws Error for another number of them, or one that is not finite.
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

// 1/n sum_i slopes[i] e_i.
at::Tensor combine(const at::Tensor& slopes, const at::Tensor& directions) {
    const at::Tensor mean = slopes / static_cast<double>(slopes.size(0));
    return at::matmul(mean, directions.to(at::kDouble)).to(at::kFloat);
}

}  // namespace

RandomGradientEstimator::RandomGradientEstimator(double mu) : mu_(checked_mu("rge", mu)) {}

std::int64_t RandomGradientEstimator::passes(std::int64_t n) const {
    require_count("rge", n);
    return n + 1;
}

at::Tensor RandomGradientEstimator::points(const at::Tensor& theta,
                                           const at::Tensor& directions) const {
    require_directions("rge", directions, 1);
    require_vector("rge", "theta", theta, directions.size(1));
    return at::cat({theta.unsqueeze(0), theta + mu_ * directions});
}

at::Tensor RandomGradientEstimator::estimate(const at::Tensor& losses,
                                             const at::Tensor& directions) const {
    require_directions("rge", directions, 1);
    const at::Tensor values =
        checked_losses("rge", losses, directions.size(0) + 1, " at theta itself");
    return combine((values.slice(0, 1) - values[0]) / mu_, directions);
}

double RandomGradientEstimator::loss(const at::Tensor& losses) const {
    return losses[0].item<double>();
}

SpsaEstimator::SpsaEstimator(double mu) : mu_(checked_mu("spsa", mu)) {}

std::int64_t SpsaEstimator::passes(std::int64_t n) const {
    require_count("spsa", n);
    return 2 * n;
}

at::Tensor SpsaEstimator::points(const at::Tensor& theta, const at::Tensor& directions) const {
    require_directions("spsa", directions, 1);
    require_vector("spsa", "theta", theta, directions.size(1));
    return at::cat({theta + mu_ * directions, theta - mu_ * directions});
}

at::Tensor SpsaEstimator::estimate(const at::Tensor& losses, const at::Tensor& directions) const {
    require_directions("spsa", directions, 1);
    const std::int64_t n = directions.size(0);
    const at::Tensor values = checked_losses("spsa", losses, 2 * n, " at a perturbed theta");
    return combine((values.slice(0, 0, n) - values.slice(0, n)) / (2 * mu_), directions);
}

double SpsaEstimator::loss(const at::Tensor& losses) const {
    return losses.mean().item<double>();
}

OnePointEstimator::OnePointEstimator(double mu) : mu_(checked_mu("one_point", mu)) {}

std::int64_t OnePointEstimator::directions(std::int64_t n) const {
    require_count("one_point", n);
    return n + 1;
}

std::int64_t OnePointEstimator::passes(std::int64_t n) const {
    require_count("one_point", n);
    return n + 1;
}

at::Tensor OnePointEstimator::points(const at::Tensor& theta, const at::Tensor& directions) const {
    require_directions("one_point", directions, 2);
    require_vector("one_point", "theta", theta, directions.size(1));
    return theta + mu_ * directions;
}

at::Tensor OnePointEstimator::estimate(const at::Tensor& losses,
                                       const at::Tensor& directions) const {
    require_directions("one_point", directions, 2);
    const std::int64_t n = directions.size(0) - 1;
    const at::Tensor values = checked_losses("one_point", losses, n + 1, " at a perturbed theta");
    return combine((values.slice(0, 1) - values.slice(0, 0, n)) / mu_, directions.slice(0, 1));
}

double OnePointEstimator::loss(const at::Tensor& losses) const {
    return losses.mean().item<double>();
}

std::unique_ptr<Estimator> make_estimator(const std::string& name, double mu) {
    if (name == "rge") return std::make_unique<RandomGradientEstimator>(mu);
    if (name == "spsa") return std::make_unique<SpsaEstimator>(mu);
    if (name == "one_point") return std::make_unique<OnePointEstimator>(mu);
    fail("estimator: needs rge, spsa or one_point, got '", name, "'");
}

}  // namespace zoodip
