// Products of small matrices that lie in a core's caches, on one thread: oneDNN's micro kernels,
// as torch exports them (ATen/native/CPUBlas.h). Chosen because they are the fastest for each
// processor (AVX2, AVX-512, VNNI, AMX) and come with the torch that is there. For integers on
// processors without AVX-512 there are kernels of ours (ops/int8_kernels.h).
#pragma once

#include <cstdint>

#include <c10/util/BFloat16.h>

namespace zoodip {

// C [m, n] = A [m, k] B [k, n], rows lda, ldb and ldc numbers apart; onto C where `accumulate`.
struct BrgemmShape {
    std::int64_t m, n, k;
    std::int64_t lda, ldb, ldc;
    bool accumulate = false;
};

// Which products oneDNN has a kernel for on this processor and in this torch; asked once. Another
// than these must not be called.
bool has_float_brgemm();     // AVX2 or better
bool has_bfloat16_brgemm();  // AVX-512 BF16 or AMX
bool has_int8_brgemm();      // AVX-512 VNNI or AMX; or AVX-VNNI, by a kernel of ours
bool has_int16_brgemm();     // AVX2 or better, by a kernel of ours

// Whether bfloat16 products take less time here than float32 ones of the same numbers, which are as
// exact. Measured, once: of the processors that have them some are several times faster in
// bfloat16, others half as fast.
bool bfloat16_is_faster();

void brgemm(const BrgemmShape& shape, const float* a, const float* b, float* c);

// b: pairs of rows interleaved, [k / 2, n, 2]; k even; ldb counts columns of a pair of rows.
void brgemm(const BrgemmShape& shape, const at::BFloat16* a, const at::BFloat16* b, float* c);

// b: fours of rows interleaved, [k / 4, n, 4]; k divisible by 4. c wraps nowhere: |c| < 2^31 for k
// up to 65536.
void brgemm(const BrgemmShape& shape, const std::uint8_t* a, const std::int8_t* b, std::int32_t* c);

// Numbers of 8 bits in 16. n, ldb and ldc are 64. b: pairs of rows interleaved, [k / 2, 64, 2]; k
// even.
void brgemm(const BrgemmShape& shape, const std::int16_t* a, const std::int16_t* b,
            std::int32_t* c);

// Gives back what the products of this thread hold of the processor (the tiles of AMX) when a
// thread's share of work ends.
class BrgemmScope {
  public:
    BrgemmScope() = default;
    ~BrgemmScope();
    BrgemmScope(const BrgemmScope&) = delete;
    BrgemmScope& operator=(const BrgemmScope&) = delete;
};

}  // namespace zoodip
