// Gradient estimates from forward passes alone. Nothing here knows of diffusion: a loss is a
// function [k, d] -> [k].
#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

namespace zoodip {

// One step: points(theta) -> losses of every point, all on the same sample -> estimate. Tensors are
// on the CPU. Throws Error for other shapes, types or devices than these.
class Estimator {
  public:
    virtual ~Estimator() = default;

    // theta: float32 [d], directions: float32 [n, d]. Returns float32 [passes(n), d]; row 0 is
    // theta itself, the others are formed afresh from it.
    virtual at::Tensor points(const at::Tensor& theta, const at::Tensor& directions) const = 0;

    // losses: float32 or float64 [passes(n)], of the points in order. Returns g, float32 [d].
    // Throws Error for a loss that is not finite, by its row in points().
    virtual at::Tensor estimate(const at::Tensor& losses, const at::Tensor& directions) const = 0;

    // Forward passes that a step with n >= 1 directions makes.
    virtual std::int64_t passes(std::int64_t n) const = 0;
};

// RGE (ZOODiP Eq. 3 = S1), the one-sided random gradient estimate with e_i ~ N(0, I):
//   g = 1/n sum_i (L(theta + mu e_i) - L(theta)) / mu e_i,  n + 1 passes.
class RandomGradientEstimator : public Estimator {
  public:
    // Throws Error unless mu > 0.
    explicit RandomGradientEstimator(double mu);

    at::Tensor points(const at::Tensor& theta, const at::Tensor& directions) const override;
    at::Tensor estimate(const at::Tensor& losses, const at::Tensor& directions) const override;
    std::int64_t passes(std::int64_t n) const override;

  private:
    double mu_;
};

// The directions of a step, float32 [n, d], N(0, I). Number j of row i is element i * padded + j of
// RandomBlock(seed, Stream::direction, step), padded = d rounded up to even: more rows do not
// change the first ones. Throws Error unless n >= 1 and d >= 1.
at::Tensor draw_directions(std::int64_t n, std::int64_t d, std::uint64_t seed, std::uint64_t step);

}  // namespace zoodip
