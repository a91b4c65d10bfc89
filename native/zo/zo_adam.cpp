#include "zo/zo_adam.h"

#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros.h>

#include "core/error.h"
#include "zo/checks.h"

namespace zoodip {
namespace {

bool is_positive(double value) {
    return std::isfinite(value) && value > 0;
}

bool is_fraction(double value) {
    return value >= 0 && value < 1;
}

}  // namespace

ZoAdam::ZoAdam(std::int64_t d, ZoAdamOptions options) : options_(options) {
    require(d >= 1, "zoadam: needs d >= 1, got ", d);
    require(is_positive(options.learning_rate) && is_positive(options.eps) &&
                is_fraction(options.beta1) && is_fraction(options.beta2),
            "zoadam: needs learning rate and eps > 0 and betas in [0, 1), got ",
            options.learning_rate, ", ", options.eps, ", ", options.beta1, ", ", options.beta2);
    m_ = at::zeros({d}, at::kFloat);
    v_ = at::zeros({d}, at::kFloat);
}

at::Tensor ZoAdam::step(const at::Tensor& theta, const at::Tensor& g, std::int64_t removed,
                        std::int64_t n, bool estimated) {
    const std::int64_t d = m_.size(0);
    require_vector("zoadam", "theta", theta, d);
    require_vector("zoadam", "g", g, d);
    require(n >= 1 && removed >= 0 && removed < d, "zoadam: needs n >= 1 and 0 <= removed < ", d,
            ", got ", n, " and ", removed);
    const double scale =
        estimated ? std::sqrt(static_cast<double>(d - removed + n - 1) / static_cast<double>(n))
                  : 1;
    const at::Tensor scaled = g / scale;
    ++step_;
    m_ = options_.beta1 * m_ + (1 - options_.beta1) * scaled;
    v_ = options_.beta2 * v_ + (1 - options_.beta2) * scaled * scaled;
    const auto count = static_cast<double>(step_);
    const at::Tensor m_hat = m_ / (1 - std::pow(options_.beta1, count));
    const at::Tensor v_hat = v_ / (1 - std::pow(options_.beta2, count));
    return theta - options_.learning_rate * m_hat / (v_hat.sqrt() + options_.eps);
}

void ZoAdam::set_learning_rate(double learning_rate) {
    require(learning_rate == 0 || is_positive(learning_rate),
            "zoadam: needs a learning rate of at least 0, got ", learning_rate);
    options_.learning_rate = learning_rate;
}

ZoAdam::State ZoAdam::state() const {
    return {m_.clone(), v_.clone(), step_};
}

void ZoAdam::set_state(const State& state) {
    require(state.m.sizes() == m_.sizes() && state.v.sizes() == m_.sizes() && state.step >= 0,
            "zoadam: needs moments [", m_.size(0), "] and step >= 0, got ", state.m.sizes(), ", ",
            state.v.sizes(), " and ", state.step);
    m_ = state.m.to(at::kFloat, /*non_blocking=*/false, /*copy=*/true);
    v_ = state.v.to(at::kFloat, /*non_blocking=*/false, /*copy=*/true);
    step_ = state.step;
}

}  // namespace zoodip
