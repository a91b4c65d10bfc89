#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>

#include "zo/estimator.h"
#include "zo/estimator_checks.h"

namespace zoodip {
namespace {

// RGE (ZOODiP Eq. 3 = S1), the one-sided random gradient estimate with e_i ~ N(0, I):
//   g = 1/n sum_i (L(theta + mu e_i) - L(theta)) / mu e_i,  n + 1 passes. Row 0 is theta itself.
class RandomGradientEstimator : public Estimator {
  public:
    explicit RandomGradientEstimator(double mu);

    std::int64_t passes(std::int64_t n) const override;
    at::Tensor points(const at::Tensor& theta, const at::Tensor& directions) const override;
    at::Tensor estimate(const at::Tensor& losses, const at::Tensor& directions) const override;
    double loss(const at::Tensor& losses) const override;

  private:
    double mu_;
};

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

}  // namespace

const EstimatorKind& rge_estimator() {
    static const EstimatorKind kind = {
        .name = "rge",
        .takes = "takes one-sided differences, n + 1 forward passes a step",
        .begins_at_theta = true,
        .make = &made<RandomGradientEstimator>,
    };
    return kind;
}

}  // namespace zoodip
