#include <ATen/TensorOperators.h>

#include "zo/estimator.h"
#include "zo/estimator_checks.h"

namespace zoodip {
namespace {

// One-point estimate with residual feedback (Zhang et al. 2020, arXiv 2006.10820):
//   g = 1/n sum_i (L(theta + mu e_{i+1}) - L(theta + mu e_i)) / mu e_{i+1},  n + 1 passes.
// ZOODiP's S3 prints the factor e_i, whose mean is minus the gradient: only -L(theta + mu e_i) e_i
// correlates with it. With e_{i+1} the mean is the gradient.
class OnePointEstimator : public Estimator {
  public:
    explicit OnePointEstimator(double mu);

    std::int64_t directions(std::int64_t n) const override;
    std::int64_t passes(std::int64_t n) const override;
    at::Tensor points(const at::Tensor& theta, const at::Tensor& directions) const override;
    at::Tensor estimate(const at::Tensor& losses, const at::Tensor& directions) const override;
    double loss(const at::Tensor& losses) const override;

  private:
    double mu_;
};

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

}  // namespace

const EstimatorKind& one_point_estimator() {
    static const EstimatorKind kind = {
        .name = "one_point",
        .takes = "differences between neighbours, n + 1",
        .begins_at_theta = false,
        .make = &made<OnePointEstimator>,
    };
    return kind;
}

}  // namespace zoodip
