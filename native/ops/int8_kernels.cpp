#include "ops/int8_kernels.h"

#include <cstring>

#include "core/error.h"
#include "ops/cpu_isa.h"

#ifdef ZOODIP_X86_KERNELS
#include <immintrin.h>
#endif

namespace zoodip {

bool has_avx2_kernel() {
    return cpu_isa() != CpuIsa::plain;
}

bool has_avx_vnni_kernel() {
    return cpu_isa() == CpuIsa::avx_vnni || (cpu_isa() == CpuIsa::avx512 && has_avx_vnni());
}

#ifdef ZOODIP_X86_KERNELS

namespace {

constexpr std::int64_t width = 64, half = 32;  // columns: of B, and of those that go together
constexpr int vectors = 4, lanes = 8;          // of half a row of sums
constexpr int rows = 3;  // together: 12 sums, 4 of B and 1 of A in 16 registers

#define ZOODIP_AVX_VNNI __attribute__((target("avx2,fma,f16c,avxvnni")))

// Four bytes of A in every lane.
template <class Number>
ZOODIP_INLINED ZOODIP_AVX2 inline __m256i broadcast(const Number* a) {
    std::int32_t word = 0;
    std::memcpy(&word, a, 4);
    return _mm256_set1_epi32(word);
}

template <class Number>
ZOODIP_INLINED ZOODIP_AVX2 inline __m256i load(const Number* from) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
}

template <class A, class B>
struct Product {
    std::int64_t k;
    const A* a;
    std::int64_t lda;
    const B* b;
    std::int32_t* c;
    bool accumulate;
};

// Half of the sums of some rows, as they stand in registers.
template <int count>
struct Sums {
    __m256i at[count][vectors];
};

template <int count>
ZOODIP_INLINED ZOODIP_AVX2 inline void begin(Sums<count>& sums, const std::int32_t* c, bool there) {
    for (int r = 0; r < count; ++r) {
        for (int j = 0; j < vectors; ++j) {
            sums.at[r][j] = there ? load(c + r * width + j * lanes) : _mm256_setzero_si256();
        }
    }
}

template <int count>
ZOODIP_INLINED ZOODIP_AVX2 inline void end(const Sums<count>& sums, std::int32_t* c) {
    for (int r = 0; r < count; ++r) {
        for (int j = 0; j < vectors; ++j) {
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(c + r * width + j * lanes),
                                sums.at[r][j]);
        }
    }
}

template <int count>
ZOODIP_AVX2 void multiply_rows(const Product<std::int16_t, std::int16_t>& p) {
    for (std::int64_t column = 0; column < width; column += half) {
        Sums<count> sums;
        begin(sums, p.c + column, p.accumulate);
        for (std::int64_t i = 0; i < p.k; i += 2) {
            __m256i b[vectors];
            for (int j = 0; j < vectors; ++j) {
                b[j] = load(p.b + i * width + (column + j * lanes) * 2);
            }
            for (int r = 0; r < count; ++r) {
                const __m256i a = broadcast(p.a + r * p.lda + i);
                for (int j = 0; j < vectors; ++j) {
                    sums.at[r][j] = _mm256_add_epi32(sums.at[r][j], _mm256_madd_epi16(a, b[j]));
                }
            }
        }
        end(sums, p.c + column);
    }
}

template <int count>
ZOODIP_AVX_VNNI void multiply_rows(const Product<std::uint8_t, std::int8_t>& p) {
    for (std::int64_t column = 0; column < width; column += half) {
        Sums<count> sums;
        begin(sums, p.c + column, p.accumulate);
        for (std::int64_t i = 0; i < p.k; i += 4) {
            __m256i b[vectors];
            for (int j = 0; j < vectors; ++j) {
                b[j] = load(p.b + i * width + (column + j * lanes) * 4);
            }
            for (int r = 0; r < count; ++r) {
                const __m256i a = broadcast(p.a + r * p.lda + i);
                for (int j = 0; j < vectors; ++j) {
                    sums.at[r][j] = _mm256_dpbusd_avx_epi32(sums.at[r][j], a, b[j]);
                }
            }
        }
        end(sums, p.c + column);
    }
}

template <class A, class B>
void multiply(std::int64_t m, Product<A, B> p) {
    std::int64_t row = 0;
    for (; row + rows <= m; row += rows) {
        multiply_rows<rows>(p);
        p.a += rows * p.lda;
        p.c += rows * width;
    }
    if (m - row == 2) multiply_rows<2>(p);
    if (m - row == 1) multiply_rows<1>(p);
}

}  // namespace

void multiply_avx_vnni(std::int64_t m, std::int64_t k, const std::uint8_t* a, std::int64_t lda,
                       const std::int8_t* b, std::int32_t* c, bool accumulate) {
    multiply<std::uint8_t, std::int8_t>(m, {k, a, lda, b, c, accumulate});
}

void multiply_avx2(std::int64_t m, std::int64_t k, const std::int16_t* a, std::int64_t lda,
                   const std::int16_t* b, std::int32_t* c, bool accumulate) {
    multiply<std::int16_t, std::int16_t>(m, {k, a, lda, b, c, accumulate});
}

#else

void multiply_avx_vnni(std::int64_t, std::int64_t, const std::uint8_t*, std::int64_t,
                       const std::int8_t*, std::int32_t*, bool) {
    fail("brgemm: this build has no kernels for x86-64");
}

void multiply_avx2(std::int64_t, std::int64_t, const std::int16_t*, std::int64_t,
                   const std::int16_t*, std::int32_t*, bool) {
    fail("brgemm: this build has no kernels for x86-64");
}

#endif

}  // namespace zoodip
