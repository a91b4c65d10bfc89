// Micro kernels of 8-bit products for processors on which torch has none of oneDNN's: those of
// AVX2, and of AVX-VNNI, which processors without AVX-512 have. C [m, 64] = A [m, k] B [k, 64] with
// rows of A `lda` numbers apart, onto C where `accumulate`. Sums are exact, as oneDNN's are.
#pragma once

#include <cstdint>

namespace zoodip {

bool has_avx2_kernel();      // on this processor, and allowed by cpu_isa()
bool has_avx_vnni_kernel();  // so

// b: fours of rows interleaved, [k / 4, 64, 4]; k divisible by 4.
void multiply_avx_vnni(std::int64_t m, std::int64_t k, const std::uint8_t* a, std::int64_t lda,
                       const std::int8_t* b, std::int32_t* c, bool accumulate);

// 8-bit numbers in 16 bits, for AVX2 has products of those alone whose sums do not saturate.
// b: pairs of rows interleaved, [k / 2, 64, 2]; k even.
void multiply_avx2(std::int64_t m, std::int64_t k, const std::int16_t* a, std::int64_t lda,
                   const std::int16_t* b, std::int32_t* c, bool accumulate);

}  // namespace zoodip
