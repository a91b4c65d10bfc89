// Subspace gradient, SG (ZOODiP Algorithms 1 and 2, Eq. 4-8): directions in which the last words
// hardly moved are taken out of the estimate.
#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

namespace zoodip {

class Subspace {
  public:
    struct State {
        at::Tensor buffer;      // float32 [rows < tau, d]: words since the last decomposition
        at::Tensor projection;  // float32 [removed < min(tau, d), d]: P, orthonormal rows
    };

    // tau >= 2 words a decomposition, 0 < nu < 1, d numbers a word. Logs a warning for tau >= d/2,
    // where hardly a direction would be left. Throws Error for anything else.
    Subspace(std::int64_t tau, double nu, std::int64_t d);

    // g (I - P^T P), float32 [d]; a copy of g while P is empty.
    at::Tensor project(const at::Tensor& g) const;

    // Takes in an updated word, float32 [d]. The tau-th makes a new P and clears the buffer.
    // Throws Error for a word that is not finite.
    void record(const at::Tensor& theta);

    // Rows of P.
    std::int64_t removed() const { return projection_.size(0); }
    // P itself, float32 [removed, d].
    const at::Tensor& projection() const { return projection_; }

    State state() const;
    // Throws Error for shapes that no state of this tau and d has, and for undefined tensors.
    void set_state(const State& state);

  private:
    std::int64_t tau_;
    double nu_;
    at::Tensor buffer_;  // [tau, d]
    std::int64_t rows_ = 0;
    at::Tensor projection_;
};

// P of a full buffer [tau, d]: standardise each feature (population deviation, 0 -> 1), singular
// values S and right vectors V^T; i* = min i with sum_{j<=i} S_j^2 / sum_k S_k^2 > 1 - nu; rows
// i*+1.. of V^T whose singular value exceeds max(tau, d) * 2^-52 * S_1 (below that the direction is
// rounding). Computed in float64; returns float32 [rows, d].
at::Tensor trailing_directions(const at::Tensor& buffer, double nu);

}  // namespace zoodip
