#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>

#include "zo/estimator.h"
#include "zo/estimator_checks.h"

namespace zoodip {
namespace {

// SPSA (S2), the central difference:
//   g = 1/n sum_i (L(theta + mu e_i) - L(theta - mu e_i)) / (2 mu) e_i,  2 n passes: the n forward
// ones first, then the n backward ones.
class SpsaEstimator : public Estimator {
  public:
    explicit SpsaEstimator(double mu);

    std::int64_t passes(std::int64_t n) const override;
    at::Tensor points(const at::Tensor& theta, const at::Tensor& directions) const override;
    at::Tensor estimate(const at::Tensor& losses, const at::Tensor& directions) const override;
    double loss(const at::Tensor& losses) const override;

  private:
    double mu_;
};

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

}  // namespace

const EstimatorKind& spsa_estimator() {
    static const EstimatorKind kind = {
        .name = "spsa",
        .takes = "central ones, 2 n",
        .begins_at_theta = false,
        .make = &made<SpsaEstimator>,
    };
    return kind;
}

}  // namespace zoodip
