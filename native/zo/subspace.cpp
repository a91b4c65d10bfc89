#include "zo/subspace.h"

#include <algorithm>
#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/linalg_svd.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/where.h>

#include "core/error.h"
#include "core/log.h"
#include "zo/checks.h"

namespace zoodip {

at::Tensor trailing_directions(const at::Tensor& buffer, double nu) {
    const at::Tensor rows = buffer.to(at::kDouble);
    // Centred twice: the first mean is rounded on the scale of the words, which may be far above
    // the scale on which they move, and that rounding would pass for a direction.
    at::Tensor centred = rows - rows.mean(0, /*keepdim=*/true);
    centred = centred - centred.mean(0, /*keepdim=*/true);
    const at::Tensor deviation = (centred * centred).mean(0, /*keepdim=*/true).sqrt();
    const at::Tensor scale = at::where(deviation > 0, deviation, at::ones_like(deviation));
    const auto [u, s, vh] = at::linalg_svd(centred / scale, /*full_matrices=*/false);

    const double* values = s.const_data_ptr<double>();
    const std::int64_t count = s.size(0);
    double total = 0;
    for (std::int64_t i = 0; i < count; ++i) total += values[i] * values[i];
    if (total == 0) return at::empty({0, buffer.size(1)}, at::kFloat);
    std::int64_t kept = 0;
    for (double sum = 0; kept < count && sum <= (1 - nu) * total; ++kept) {
        sum += values[kept] * values[kept];
    }
    const double noise =
        static_cast<double>(std::max(buffer.size(0), buffer.size(1))) * 0x1p-52 * values[0];
    std::int64_t end = kept;
    while (end < count && values[end] > noise) ++end;
    return vh.slice(0, kept, end).to(at::kFloat).contiguous();
}

Subspace::Subspace(std::int64_t tau, double nu, std::int64_t d) : tau_(tau), nu_(nu) {
    require(tau >= 2 && d >= 1, "subspace: needs tau >= 2 and d >= 1, got ", tau, " and ", d);
    require(nu > 0 && nu < 1, "subspace: needs 0 < nu < 1, got ", nu);
    if (2 * tau >= d) {
        log_warning("tau ", tau, " is at least half of the ", d,
                    " numbers of a word: the subspace ",
                    "may leave hardly a direction to learn in. The paper's proportion is ",
                    std::max<std::int64_t>(2, std::lround(static_cast<double>(d) / 6)));
    }
    buffer_ = at::empty({tau, d}, at::kFloat);
    projection_ = at::empty({0, d}, at::kFloat);
}

at::Tensor Subspace::project(const at::Tensor& g) const {
    require_vector("subspace", "a gradient", g, buffer_.size(1));
    if (removed() == 0) return g.clone();
    // In float64: what is left along P is then rounding of P and of the result alone.
    const at::Tensor p = projection_.to(at::kDouble), wide = g.to(at::kDouble);
    return (wide - at::matmul(at::matmul(p, wide), p)).to(at::kFloat);
}

void Subspace::record(const at::Tensor& theta) {
    require_vector("subspace", "a word", theta, buffer_.size(1));
    require(at::isfinite(theta).all().item<bool>(),
            "subspace: the word holds a number that is not finite. Lower the learning rate");
    buffer_[rows_].copy_(theta);
    if (++rows_ < tau_) return;
    projection_ = trailing_directions(buffer_, nu_);
    rows_ = 0;
}

Subspace::State Subspace::state() const {
    return {buffer_.slice(0, 0, rows_).clone(), projection_.clone()};
}

void Subspace::set_state(const State& state) {
    const std::int64_t d = buffer_.size(1), rank = std::min(tau_, d);
    require(state.buffer.defined() && state.projection.defined(),
            "subspace: the state holds no words and no P. It is that of a run without a subspace");
    require(state.buffer.dim() == 2 && state.projection.dim() == 2 && state.buffer.size(1) == d &&
                state.projection.size(1) == d && state.buffer.size(0) < tau_ &&
                state.projection.size(0) < rank,
            "subspace: needs a state of [fewer than ", tau_, ", ", d, "] and [fewer than ", rank,
            ", ", d, "], got ", state.buffer.sizes(), " and ", state.projection.sizes());
    rows_ = state.buffer.size(0);
    buffer_.slice(0, 0, rows_).copy_(state.buffer);
    projection_ = state.projection.to(at::kFloat, /*non_blocking=*/false, /*copy=*/true);
}

}  // namespace zoodip
