// ZOAdam: Adam on an estimate that is first put on the scale of the true gradient.
#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

namespace zoodip {

struct ZoAdamOptions {
    double learning_rate = 5e-3;
    double beta1 = 0.9, beta2 = 0.999;
    double eps = 1e-3;
};

// An RGE estimate is longer than the gradient a behind it. Within the d' = d - rows(P) numbers that
// are left, for small mu,
//   E|g|^2 = (E (a.e)^2 |e|^2 + (n - 1) |a|^2) / n.
// For e uniform on the sphere |e|^2 = d' that is |a|^2 (d' + n - 1) / n; for e ~ N(0, I), whose
// length varies, it is |a|^2 (d' + n + 1) / n. ZOODiP divides by sqrt((d' + n - 1) / n), the
// sphere's value, and its normal estimates keep a mean square of |a|^2 (1 + 2 / (d' + n - 1)).
//
// Then, with bias correction and no weight decay,
//   m = beta1 m + (1 - beta1) g,  v = beta2 v + (1 - beta2) g^2,
//   theta -= eta mhat / (sqrt(vhat) + eps).
class ZoAdam {
  public:
    struct State {
        at::Tensor m, v;  // float32 [d]
        std::int64_t step = 0;
    };

    // Throws Error for options out of range.
    ZoAdam(std::int64_t d, ZoAdamOptions options);

    // theta, g: float32 [d]. removed: dimensions that the estimate cannot have, the rows of P among
    // them; n: directions behind it. An exact gradient (estimated = false) is not scaled. Returns
    // the new theta. Throws Error for other shapes, types or devices, n < 1, or removed outside
    // [0, d).
    at::Tensor step(const at::Tensor& theta, const at::Tensor& g, std::int64_t removed,
                    std::int64_t n, bool estimated = true);

    // Of the following steps; > 0, or 0 at a schedule's end.
    void set_learning_rate(double learning_rate);

    State state() const;
    // Throws Error for moments of another length or a negative step.
    void set_state(const State& state);

  private:
    ZoAdamOptions options_;
    at::Tensor m_, v_;
    std::int64_t step_ = 0;
};

}  // namespace zoodip
