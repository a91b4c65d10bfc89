#include "ops/cpu_isa.h"

#include <array>
#include <atomic>
#include <cstdlib>
#include <string_view>

#include "core/error.h"

#ifdef ZOODIP_X86_KERNELS
#include <cpuid.h>
#endif

namespace zoodip {
namespace {

constexpr int none = -1;

std::atomic<int> forced{none};

bool has(CpuIsa isa) {
#ifdef ZOODIP_X86_KERNELS
    if (isa == CpuIsa::avx2) {
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    }
    if (isa == CpuIsa::avx_vnni) return has(CpuIsa::avx2) && has_avx_vnni();
    if (isa == CpuIsa::avx512) {
        return has(CpuIsa::avx2) && __builtin_cpu_supports("avx512f") &&
               __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512vl");
    }
#endif
    return isa == CpuIsa::plain;
}

CpuIsa choose() {
    const char* wish = std::getenv("ZOODIP_CPU_ISA");
    CpuIsa best = CpuIsa::plain;
    for (const CpuIsa isa : cpu_isas()) {
        if (wish != nullptr && std::string_view(wish) == name_of(isa)) return isa;
        best = isa;
    }
    return best;
}

}  // namespace

CpuIsa cpu_isa() {
    static const CpuIsa chosen = choose();
    const int wish = forced.load(std::memory_order_relaxed);
    return wish == none ? chosen : static_cast<CpuIsa>(wish);
}

std::string processor_name() {
#ifdef ZOODIP_X86_KERNELS
    std::array<unsigned, 13> words{};
    for (unsigned leaf = 0; leaf < 3; ++leaf) {
        unsigned* to = words.data() + std::size_t{4} * leaf;
        if (__get_cpuid(0x80000002u + leaf, to, to + 1, to + 2, to + 3) == 0) return {};
    }
    unsigned unused[3], signature = 0;
    __get_cpuid(1, &signature, unused, unused + 1, unused + 2);
    return concat(reinterpret_cast<const char*>(words.data()), " ", signature);
#else
    return {};
#endif
}

bool has_avx_vnni() {
#ifdef ZOODIP_X86_KERNELS
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    return __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0 && (eax >> 4 & 1) != 0;
#else
    return false;
#endif
}

std::vector<CpuIsa> cpu_isas() {
    std::vector<CpuIsa> all;
    for (const CpuIsa isa : {CpuIsa::plain, CpuIsa::avx2, CpuIsa::avx_vnni, CpuIsa::avx512}) {
        if (has(isa)) all.push_back(isa);
    }
    return all;
}

const char* name_of(CpuIsa isa) {
    switch (isa) {
        case CpuIsa::avx512:
            return "avx512";
        case CpuIsa::avx_vnni:
            return "avx_vnni";
        case CpuIsa::avx2:
            return "avx2";
        case CpuIsa::plain:
            break;
    }
    return "plain";
}

ForcedCpuIsa::ForcedCpuIsa(CpuIsa isa) : before_(forced.load()) {
    require(has(isa), "cpu isa: this processor has no ", name_of(isa));
    forced = static_cast<int>(isa);
}

ForcedCpuIsa::~ForcedCpuIsa() {
    forced = before_;
}

}  // namespace zoodip
