// Functions for the loops of for_cpu_isa: branch-free, so that loops over them become vector code,
// and the same bits in every instruction set.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include "ops/cpu_isa.h"

namespace zoodip {

// bfloat16 bits, to nearest, ties to even; NaN stays NaN.
ZOODIP_INLINED inline std::uint16_t to_bfloat16_bits(float x) {
    const auto bits = std::bit_cast<std::uint32_t>(x);
    const std::uint32_t rounded = bits + 0x7FFFu + ((bits >> 16) & 1u);
    const std::uint32_t chosen = (bits & 0x7FFFFFFFu) > 0x7F800000u ? bits | 0x400000u : rounded;
    return static_cast<std::uint16_t>(chosen >> 16);
}

ZOODIP_INLINED inline void store(float x, float* to) {
    *to = x;
}
ZOODIP_INLINED inline void store(float x, at::BFloat16* to) {
    to->x = to_bfloat16_bits(x);
}

// The nearest integer, ties to even, of |x| < 2^22: it appears in the bits of x + 1.5 * 2^23.
ZOODIP_INLINED inline std::int32_t rounded_bits(float x) {
    return std::bit_cast<std::int32_t>(x + 12582912.0f) - 0x4B400000;
}

// A number in float32, exactly; of halves only finite ones: their exponent is moved from the bias
// of a half to that of a float.
ZOODIP_INLINED inline float widened(float x) {
    return x;
}
ZOODIP_INLINED inline float widened(at::BFloat16 x) {
    return std::bit_cast<float>(static_cast<std::uint32_t>(x.x) << 16);
}
ZOODIP_INLINED inline float widened(at::Half x) {
    const std::uint32_t magnitude = (x.x & 0x7FFFu) << 13, sign = (x.x & 0x8000u) << 16;
    const float value = std::bit_cast<float>(magnitude) * 0x1p112f;
    return std::bit_cast<float>(std::bit_cast<std::uint32_t>(value) | sign);
}

constexpr float lowest_exponent = -127.0f;  // 2 to the power of less is 0

// 2^t for t <= 64; exactly 0 for t < -126.5; NaN for NaN. t = n + f with n whole and |f| <= 1/2:
// 2^f is a polynomial (Remez, least relative error), 2^n is put together from its bits.
// Degree 5: off by 7.5e-8 by itself, by as much again for its rounded coefficients and by 9e-8 in
// its evaluation, together < 2.4e-7. Degree 3: < 8e-5, a fiftieth of a bfloat16's rounding.
// `lowest` is lowest_exponent, which is worth handing in as a variable: with the constant GCC
// computes both ways of the bound instead of one maximum.
template <int degree>
ZOODIP_INLINED inline float power_of_two(float t, float lowest = lowest_exponent) {
    constexpr float shift = 0x1.8p23f + 127;  // adding it rounds to a whole number, biased by 127
    const float bounded = t < lowest ? lowest : t;
    const float whole = bounded + shift;
    const float f = bounded - (whole - shift);
    float p;
    if constexpr (degree == 5) {
        p = 0x1.5c08e6p-10f;
        p = std::fma(p, f, 0x1.3d0c52p-7f);
        p = std::fma(p, f, 0x1.c6b6e4p-5f);
        p = std::fma(p, f, 0x1.ebf918p-3f);
        p = std::fma(p, f, 0x1.62e428p-1f);
        p = std::fma(p, f, 0x1.000002p+0f);
    } else {
        static_assert(degree == 3);
        p = 0x1.c3f776p-5f;
        p = std::fma(p, f, 0x1.f0de1ap-3f);
        p = std::fma(p, f, 0x1.62f31ap-1f);
        p = std::fma(p, f, 0x1.fff692p-1f);
    }
    return p * std::bit_cast<float>(std::bit_cast<std::uint32_t>(whole) << 23);
}

// (1 + erf(x / sqrt 2)) / 2, the share of a standard normal that lies below x, with erf by
// Abramowitz and Stegun 7.1.26, whose error is below 1.5e-7.
ZOODIP_INLINED inline float normal_cdf(float x) {
    const float z = std::fabs(x) * 0.707106781f;
    const float t = 1.0f / (1.0f + 0.3275911f * z);
    float p = 1.061405429f;
    p = p * t - 1.453152027f;
    p = p * t + 1.421413741f;
    p = p * t - 0.284496736f;
    p = p * t + 0.254829592f;
    const float tail = p * t * power_of_two<5>(-z * z * 1.44269504f);  // 1 - erf(z)
    return 0.5f * (x < 0 ? tail : 2.0f - tail);
}

// e^(-x^2 / 2) / sqrt(2 pi)
ZOODIP_INLINED inline float normal_pdf(float x) {
    return 0.398942280f * power_of_two<5>(x * x * -0.721347520f);
}

// x normal_cdf(x): off by less than 1e-7 |x| + what float32 rounds.
ZOODIP_INLINED inline float gelu(float x) {
    return x * normal_cdf(x);
}

// 1 / (1 + e^-x). Below -44 the exponential stands still: what is left is below 1e-19.
ZOODIP_INLINED inline float sigmoid(float x) {
    const float t = -1.44269504f * x;
    return 1.0f / (1.0f + power_of_two<5>(t < 64.0f ? t : 64.0f));
}

// x / (1 + e^-x), as above: what is left is below 1e-15.
ZOODIP_INLINED inline float silu(float x) {
    const float t = -1.44269504f * x;
    return x / (1.0f + power_of_two<5>(t < 64.0f ? t : 64.0f));
}

}  // namespace zoodip
