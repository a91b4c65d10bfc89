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

// The second moment of an estimate along random directions exceeds the gradient's: for a loss with
// gradient a, E|g|^2 = |a|^2 (d' + n + 1) / n. ZOODiP divides the estimate by sqrt((d' + n - 1)/n),
// d' = d - rows(P); then, with bias correction and no weight decay,
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

    // theta, g: float32 [d]. removed: rows of P; n: directions behind the estimate. An exact
    // gradient (estimated = false) is not scaled. Returns the new theta.
    at::Tensor step(const at::Tensor& theta, const at::Tensor& g, std::int64_t removed,
                    std::int64_t n, bool estimated = true);

    State state() const;
    void set_state(const State& state);

  private:
    ZoAdamOptions options_;
    at::Tensor m_, v_;
    std::int64_t step_ = 0;
};

}  // namespace zoodip
