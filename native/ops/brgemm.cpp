#include "ops/brgemm.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <limits>
#include <vector>

#include <ATen/native/CPUBlas.h>

#include "core/error.h"
#include "ops/cpu_isa.h"
#include "ops/int8_kernels.h"

namespace zoodip {
namespace {

template <class A, class B, class C>
void multiply(const BrgemmShape& shape, const A* a, const B* b, C* c) {
    brgemm(shape, a, b, c);
}

// Whether a product of ones comes out as its number of terms.
template <class A, class B, class C, class Multiply>
bool works(const Multiply& multiply) {
    constexpr std::int64_t m = 4, n = 32, k = 64;
    const std::vector<A> a(m * k, A(1));
    const std::vector<B> b(static_cast<std::size_t>(k * n), B(1));
    std::vector<C> c(m * n, C(0));
    try {
        const BrgemmScope scope;
        multiply({m, n, k, k, n, n}, a.data(), b.data(), c.data());
        return c.front() == C(k) && c.back() == C(k);
    } catch (const std::exception&) {  // "could not generate a kernel", "is only supported on"
        return false;
    }
}

}  // namespace

bool has_float_brgemm() {
#ifdef CPUBLAS_BRGEMM_F32F32F32
    // Below AVX2 the product is there, but as a slow general one.
    static const bool there =
        cpu_isas().size() > 1 && works<float, float, float>(multiply<float, float, float>);
    return there;
#else
    return false;
#endif
}

bool has_bfloat16_brgemm() {
#ifdef CPUBLAS_BRGEMM_BF16BF16F32
    static const bool there =
        works<at::BFloat16, at::BFloat16, float>(multiply<at::BFloat16, at::BFloat16, float>);
    return there;
#else
    return false;
#endif
}

namespace {

// oneDNN's kernel for uint8 by int8.
bool has_onednn_int8() {
#ifdef CPUBLAS_BRGEMM_U8I8I32
    static const bool there = [] {
        return works<std::uint8_t, std::int8_t, std::int32_t>(
            [](const BrgemmShape& s, const std::uint8_t* a, const std::int8_t* b, std::int32_t* c) {
                at::native::cpublas::brgemm(s.m, s.n, s.k, s.lda, s.ldb, s.ldc, s.accumulate, a, b,
                                            c, true);
            });
    }();
    return there;
#else
    return false;
#endif
}

// Where an instruction set is asked for, the kernel is that set's own.
bool takes_onednn_int8() {
    return has_onednn_int8() && (cpu_isa() == CpuIsa::avx512 || cpu_isa() == CpuIsa::plain);
}

}  // namespace

bool has_int8_brgemm() {
    return takes_onednn_int8() || has_avx_vnni_kernel();
}

bool has_int16_brgemm() {
    return has_avx2_kernel();
}

namespace {

// Seconds of the fastest of some products that stay in the caches.
template <class Number>
double fastest_product() {
    constexpr std::int64_t m = 64, n = 64, k = 320;
    const std::vector<Number> a(m * k, Number(1)), b(k * n, Number(1));
    std::vector<float> c(m * n);
    double best = std::numeric_limits<double>::infinity();
    const BrgemmScope scope;
    for (int i = 0; i < 50; ++i) {
        const auto start = std::chrono::steady_clock::now();
        brgemm({m, n, k, k, n, n}, a.data(), b.data(), c.data());
        const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start;
        best = std::min(best, passed.count());
    }
    return best;
}

}  // namespace

bool bfloat16_is_faster() {
    if (!has_bfloat16_brgemm()) return false;
    if (!has_float_brgemm()) return true;
    static const bool faster = fastest_product<at::BFloat16>() < 0.9 * fastest_product<float>();
    return faster;
}

void brgemm([[maybe_unused]] const BrgemmShape& s, [[maybe_unused]] const float* a,
            [[maybe_unused]] const float* b, [[maybe_unused]] float* c) {
#ifdef CPUBLAS_BRGEMM_F32F32F32
    at::native::cpublas::brgemm(s.m, s.n, s.k, s.lda, s.ldb, s.ldc, s.accumulate, a, b, c, false);
#else
    fail("brgemm: this torch has none for float32");
#endif
}

void brgemm([[maybe_unused]] const BrgemmShape& s, [[maybe_unused]] const at::BFloat16* a,
            [[maybe_unused]] const at::BFloat16* b, [[maybe_unused]] float* c) {
#ifdef CPUBLAS_BRGEMM_BF16BF16F32
    at::native::cpublas::brgemm(s.m, s.n, s.k, s.lda, s.ldb, s.ldc, s.accumulate, a, b, c, true);
#else
    fail("brgemm: this torch has none for bfloat16");
#endif
}

void brgemm(const BrgemmShape& s, const std::uint8_t* a, const std::int8_t* b, std::int32_t* c) {
    if (!takes_onednn_int8()) return multiply_avx_vnni(s.m, s.k, a, s.lda, b, c, s.accumulate);
#ifdef CPUBLAS_BRGEMM_U8I8I32
    at::native::cpublas::brgemm(s.m, s.n, s.k, s.lda, s.ldb, s.ldc, s.accumulate, a, b, c, true);
#endif
}

void brgemm(const BrgemmShape& s, const std::int16_t* a, const std::int16_t* b, std::int32_t* c) {
    multiply_avx2(s.m, s.k, a, s.lda, b, c, s.accumulate);
}

BrgemmScope::~BrgemmScope() {
#ifdef CPUBLAS_BRGEMM_BF16BF16F32
    at::native::cpublas::brgemm_release(true);
#endif
}

}  // namespace zoodip
