#include "ops/brgemm.h"

#include <exception>
#include <vector>

#include <ATen/native/CPUBlas.h>

#include "core/error.h"
#include "ops/cpu_isa.h"

namespace zoodip {
namespace {

// Whether a product of ones comes out as its number of terms.
template <class A, class B, class C>
bool works() {
    constexpr std::int64_t m = 4, n = 32, k = 64;
    const std::vector<A> a(m * k, A(1));
    const std::vector<B> b(static_cast<std::size_t>(k * n), B(1));
    std::vector<C> c(m * n, C(0));
    try {
        const BrgemmScope scope;
        brgemm({m, n, k, k, n, n}, a.data(), b.data(), c.data());
        return c.front() == C(k) && c.back() == C(k);
    } catch (const std::exception&) {  // "could not generate a kernel", "is only supported on"
        return false;
    }
}

}  // namespace

bool has_float_brgemm() {
#ifdef CPUBLAS_BRGEMM_F32F32F32
    // Below AVX2 the product is there, but as a slow general one.
    static const bool there = cpu_isas().size() > 1 && works<float, float, float>();
    return there;
#else
    return false;
#endif
}

bool has_bfloat16_brgemm() {
#ifdef CPUBLAS_BRGEMM_BF16BF16F32
    static const bool there = works<at::BFloat16, at::BFloat16, float>();
    return there;
#else
    return false;
#endif
}

bool has_int8_brgemm() {
#ifdef CPUBLAS_BRGEMM_U8I8I32
    static const bool there = works<std::uint8_t, std::int8_t, std::int32_t>();
    return there;
#else
    return false;
#endif
}

bool has_amx() {
#ifdef CPUBLAS_BRGEMM_BF16BF16F32
    static const bool there =
        has_bfloat16_brgemm() && at::native::cpublas::could_pack(at::kBFloat16);
    return there;
#else
    return false;
#endif
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

void brgemm([[maybe_unused]] const BrgemmShape& s, [[maybe_unused]] const std::uint8_t* a,
            [[maybe_unused]] const std::int8_t* b, [[maybe_unused]] std::int32_t* c) {
#ifdef CPUBLAS_BRGEMM_U8I8I32
    at::native::cpublas::brgemm(s.m, s.n, s.k, s.lda, s.ldb, s.ldc, s.accumulate, a, b, c, true);
#else
    fail("brgemm: this torch has none for int8");
#endif
}

BrgemmScope::~BrgemmScope() {
#ifdef CPUBLAS_BRGEMM_BF16BF16F32
    at::native::cpublas::brgemm_release(true);
#endif
}

}  // namespace zoodip
