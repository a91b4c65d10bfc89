// Instruction sets of x86-64, chosen at run time.
//
// A kernel is written once, as plain loops that the compiler turns into vector code for each set:
//
//     for_cpu_isa([=] ZOODIP_INLINED { for (i...) out[i] = s * q[i]; });
//
// The body is handed on by value: a store to bytes may change anything that is reached through a
// reference, but not what [=] has copied.
//
// Everything that the body calls in its loops must be inlined (ZOODIP_INLINED), or it stays plain
// code. Sums are kept in a fixed number of lanes, so that every set gives the same bits. Elsewhere
// than GCC or clang on x86-64 there is the plain form alone.
#pragma once

#include <string>
#include <vector>

namespace zoodip {

// avx_vnni: AVX2 with products of 8-bit integers, for the kernels that make those; the others' code
// is that of avx2.
enum class CpuIsa { plain, avx2, avx_vnni, avx512 };

// The best that this processor has, or what ForcedCpuIsa or, read once, the environment variable
// ZOODIP_CPU_ISA (plain, avx2, avx_vnni, avx512) asks for, if the processor has that.
CpuIsa cpu_isa();

std::string
processor_name();     // as it calls itself, with its stepping; empty elsewhere than on x86-64
bool has_avx_vnni();  // whether the processor has it, whatever is asked for

std::vector<CpuIsa> cpu_isas();  // all that this processor has
const char* name_of(CpuIsa isa);

// For tests: every kernel of the process uses this one while it lives. Throws Error where the
// processor does not have it.
class ForcedCpuIsa {
  public:
    explicit ForcedCpuIsa(CpuIsa isa);
    ~ForcedCpuIsa();
    ForcedCpuIsa(const ForcedCpuIsa&) = delete;
    ForcedCpuIsa& operator=(const ForcedCpuIsa&) = delete;

  private:
    int before_;
};

#if (defined(__GNUC__) || defined(__clang__)) && defined(__x86_64__)
#define ZOODIP_X86_KERNELS
#define ZOODIP_INLINED __attribute__((always_inline))
#define ZOODIP_AVX2 __attribute__((target("avx2,fma,f16c")))
#define ZOODIP_AVX512 \
    __attribute__((   \
        target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,prefer-vector-width=512")))

template <class Body>
ZOODIP_AVX2 void run_avx2(Body body) {
    body();
}
template <class Body>
ZOODIP_AVX512 void run_avx512(Body body) {
    body();
}
#else
#define ZOODIP_INLINED
#endif

template <class Body>
void for_cpu_isa(const Body& body) {
#ifdef ZOODIP_X86_KERNELS
    const CpuIsa isa = cpu_isa();
    if (isa == CpuIsa::avx512) return run_avx512(body);
    if (isa != CpuIsa::plain) return run_avx2(body);
#endif
    body();
}

}  // namespace zoodip
