// Gradient estimates from forward passes alone. Nothing here knows of diffusion: a loss is a
// function [k, d] -> [k].
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include <ATen/core/Tensor.h>

namespace zoodip {

// One step: points(theta) -> losses of every point, all on the same sample -> estimate. Tensors are
// on the CPU. Throws Error for other shapes, types or devices than these.
class Estimator {
  public:
    virtual ~Estimator() = default;

    // Directions that a step with n slopes draws.
    virtual std::int64_t directions(std::int64_t n) const { return n; }

    // Forward passes that a step with n >= 1 slopes makes. Backward passes: none.
    virtual std::int64_t passes(std::int64_t n) const = 0;

    // theta: float32 [d], directions: float32 [directions(n), d]. Returns float32 [passes(n), d],
    // each row formed afresh from theta.
    virtual at::Tensor points(const at::Tensor& theta, const at::Tensor& directions) const = 0;

    // losses: float32 or float64 [passes(n)], of the points in order. Returns g, float32 [d].
    // Throws Error for a loss that is not finite, by its row in points().
    virtual at::Tensor estimate(const at::Tensor& losses, const at::Tensor& directions) const = 0;

    // L(theta) as the points show it: exactly where theta is one of them, else their mean, which is
    // off by the second order in mu.
    virtual double loss(const at::Tensor& losses) const = 0;
};

// RGE (ZOODiP Eq. 3 = S1), the one-sided random gradient estimate with e_i ~ N(0, I):
//   g = 1/n sum_i (L(theta + mu e_i) - L(theta)) / mu e_i,  n + 1 passes. Row 0 is theta itself.
class RandomGradientEstimator : public Estimator {
  public:
    // Throws Error unless mu > 0.
    explicit RandomGradientEstimator(double mu);

    std::int64_t passes(std::int64_t n) const override;
    at::Tensor points(const at::Tensor& theta, const at::Tensor& directions) const override;
    at::Tensor estimate(const at::Tensor& losses, const at::Tensor& directions) const override;
    double loss(const at::Tensor& losses) const override;

  private:
    double mu_;
};

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

// "rge", "spsa" or "one_point". Throws Error for another name.
std::unique_ptr<Estimator> make_estimator(const std::string& name, double mu);

}  // namespace zoodip
