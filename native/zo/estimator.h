// Gradient estimates from forward passes alone. Nothing here knows of diffusion: a loss is a
// function [k, d] -> [k].
#pragma once

#include <cstdint>
#include <memory>

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

// An estimator as settings and their page have it. Each lies in a file of its own; a further one is
// a file and a row in estimators.cpp.
struct EstimatorKind {
    const char* name;
    const char* takes;  // behind the name, for the page of settings: what it takes, how many passes
    bool begins_at_theta;  // row 0 of points() is theta itself, as slopes by the residual need
    std::unique_ptr<Estimator> (*make)(double mu);  // Throws Error unless mu > 0.
};

}  // namespace zoodip
