// Which noise a model was trained on.
#pragma once

#include <string>
#include <vector>

#include "core/names.h"

namespace zoodip {

// beta_t for t = 0 .. 999, with u = t / 999 and steps of 1/1000 for the cosine:
//   scaled_linear      (sqrt(start) + u (sqrt(end) - sqrt(start)))^2
//   linear             start + u (end - start)
//   squaredcos_cap_v2  min(1 - f((t + 1) / 1000) / f(t / 1000), 0.999),
//                      f(s) = cos^2(pi/2 (s + 0.008) / 1.008) (Nichol and Dhariwal 2021)
//   trained            the list that comes with the model
enum class BetaKind { scaled_linear, linear, squaredcos_cap_v2, trained };

const NameTable<BetaKind>& beta_kind_names();

// Whether it goes from a first beta to a last one.
inline bool has_bounds(BetaKind kind) {
    return kind == BetaKind::scaled_linear || kind == BetaKind::linear;
}

struct BetaSchedule {
    BetaKind kind = BetaKind::scaled_linear;
    double start = 0.00085, end = 0.012;  // of those with bounds
    std::vector<double> trained;          // of that kind
    // Rescaled so that nothing of the picture is left at the last timestep (Lin et al. 2023,
    // arXiv 2305.08891, algorithm 1).
    bool zero_snr = false;
};

// "zero-SNR scaled_linear betas from 0.00085 to 0.012"
std::string describe(const BetaSchedule& schedule);

}  // namespace zoodip
