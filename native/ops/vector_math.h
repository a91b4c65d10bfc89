// Functions for the loops of for_cpu_isa: branch-free, so that loops over them become vector code,
// and the same bits in every instruction set.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include <c10/util/BFloat16.h>

#include "ops/cpu_isa.h"

namespace zoodip {

// bfloat16 bits, to nearest, ties to even; NaN stays NaN.
ZOODIP_INLINED inline std::uint16_t to_bfloat16_bits(float x) {
    const auto bits = std::bit_cast<std::uint32_t>(x);
    const std::uint32_t rounded = bits + 0x7FFFu + ((bits >> 16) & 1u);
    const std::uint32_t chosen = (bits & 0x7FFFFFFFu) > 0x7F800000u ? bits | 0x400000u : rounded;
    return static_cast<std::uint16_t>(chosen >> 16);
}

ZOODIP_INLINED inline float from_bfloat16_bits(std::uint16_t bits) {
    return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
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

// Exact for finite numbers: the exponent is moved from the bias of a half to that of a float.
ZOODIP_INLINED inline float from_finite_half_bits(std::uint16_t bits) {
    const std::uint32_t magnitude = (bits & 0x7FFFu) << 13, sign = (bits & 0x8000u) << 16;
    const float value = std::bit_cast<float>(magnitude) * 0x1p112f;
    return std::bit_cast<float>(std::bit_cast<std::uint32_t>(value) | sign);
}

// e^x for x <= 0, 0 below -87. x = k ln 2 + r with |r| <= ln 2 / 2, e^r by its Taylor series to
// r^6 (the rest is below r^7 / 7! = 1.2e-7 relative); relative error below 2.5e-7.
ZOODIP_INLINED inline float exp_of_negative(float x) {
    const float bounded = x < -87.0f ? -87.0f : x;
    constexpr float round = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
    const float shifted = bounded * 1.44269504f + round;
    const float k = shifted - round;
    const float r = (bounded - k * 0.693145752f) - k * 1.42860677e-6f;
    float p = 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    const auto exponent = (std::bit_cast<std::uint32_t>(shifted) + 127u) << 23;
    const float value = p * std::bit_cast<float>(exponent);
    return x < -87.0f ? 0.0f : value;
}

// x (1 + erf(x / sqrt 2)) / 2 with erf by Abramowitz and Stegun 7.1.26, whose error is below
// 1.5e-7: that of the result is below 1e-7 |x| + what float32 rounds.
ZOODIP_INLINED inline float gelu(float x) {
    const float z = std::fabs(x) * 0.707106781f;
    const float t = 1.0f / (1.0f + 0.3275911f * z);
    float p = 1.061405429f;
    p = p * t - 1.453152027f;
    p = p * t + 1.421413741f;
    p = p * t - 0.284496736f;
    p = p * t + 0.254829592f;
    const float tail = p * t * exp_of_negative(-z * z);  // 1 - erf(z)
    return 0.5f * x * (x < 0 ? tail : 2.0f - tail);
}

}  // namespace zoodip
