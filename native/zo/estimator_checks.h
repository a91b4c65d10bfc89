// What estimators ask of what they are given, and how they put slopes together. `op` is the
// estimator's name, for messages.
#pragma once

#include <cstdint>
#include <memory>

#include <ATen/core/Tensor.h>

#include "zo/checks.h"
#include "zo/estimator.h"

namespace zoodip {

// mu > 0, or Error.
double checked_mu(const char* op, double mu);

// n >= 1.
void require_count(const char* op, std::int64_t n);

// float32 [at least `least`, d] on the CPU.
void require_directions(const char* op, const at::Tensor& directions, std::int64_t least);

// The losses in float64. Throws Error for another number of them, or one that is not finite;
// `first` says where the first one was looked at.
at::Tensor checked_losses(const char* op, const at::Tensor& losses, std::int64_t count,
                          const char* first);

// 1/n sum_i slopes[i] e_i.
at::Tensor combine(const at::Tensor& slopes, const at::Tensor& directions);

// What a row of the table makes its estimator with.
template <class Kind>
std::unique_ptr<Estimator> made(double mu) {
    return std::make_unique<Kind>(mu);
}

}  // namespace zoodip
