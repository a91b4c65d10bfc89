// The CPU kernel of group_norm, for channels-last activations.
//
// ATen's own splits the sums of a row between threads at a place that depends on the number of
// rows, so that a row's bits depend on its position. Here sums are taken over pieces of a row whose
// size is fixed, one after another.
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ops/group_normed.h"
#include "ops/vector_math.h"

namespace zoodip {

// The norm of a number, before the SiLU, is x * gain + offset.
struct NormFactors {
    std::vector<float> gain, offset;  // [rows, channels]
    bool silu = false;
};

// The norm of one pixel of a row: write(number, its place) for each channel. `write` is inlined.
template <class From, class To, class Write>
void normalize_pixel(const From* from, std::int64_t channels, const NormFactors& norm,
                     std::int64_t row, const Write& write, To* to) {
    const float* gain = norm.gain.data() + row * channels;
    const float* offset = norm.offset.data() + row * channels;
    if (norm.silu) {
        for_cpu_isa([=] ZOODIP_INLINED {
            for (std::int64_t c = 0; c < channels; ++c) {
                write(silu(widened(from[c]) * gain[c] + offset[c]), to + c);
            }
        });
    } else {
        for_cpu_isa([=] ZOODIP_INLINED {
            for (std::int64_t c = 0; c < channels; ++c) {
                write(widened(from[c]) * gain[c] + offset[c], to + c);
            }
        });
    }
}

// x: float32 or bfloat16 on the CPU; so below.
NormFactors norm_factors(const GroupNormed& norm);

// Returns channels-last memory of x's type.
at::Tensor group_norm_cpu(const GroupNormed& norm);

// dL/dx from dy = dL/dy, both of x's shape and type; statistics and the value under the SiLU are
// computed again. The bias matters to the SiLU's slope alone.
at::Tensor group_norm_cpu_backward(const at::Tensor& dy, const GroupNormed& norm);

}  // namespace zoodip
