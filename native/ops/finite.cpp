#include "ops/finite.h"

#include <atomic>
#include <cstdint>

#include <ATen/ops/isfinite.h>

#include "ops/cpu_isa.h"
#include "ops/parallel.h"

namespace zoodip {
namespace {

// NaN and infinity are the numbers whose exponent bits are all set.
template <class Bits>
bool finite_bits(const Bits* numbers, std::int64_t count, Bits exponent) {
    std::atomic<bool> finite{true};
    parallel_ranges(count, 1 << 18, [&](std::int64_t begin, std::int64_t end) {
        for_cpu_isa([&] ZOODIP_INLINED {
            Bits largest = 0;
            for (std::int64_t i = begin; i < end; ++i) {
                const auto own = static_cast<Bits>(numbers[i] & exponent);
                largest = own > largest ? own : largest;
            }
            if (largest == exponent) finite = false;
        });
    });
    return finite;
}

}  // namespace

bool all_finite(const at::Tensor& x) {
    const bool plain = x.is_cpu() && x.is_contiguous();
    const auto* data = plain ? x.const_data_ptr() : nullptr;
    if (plain && x.scalar_type() == at::kHalf) {
        return finite_bits<std::uint16_t>(static_cast<const std::uint16_t*>(data), x.numel(),
                                          0x7C00);
    }
    if (plain && x.scalar_type() == at::kBFloat16) {
        return finite_bits<std::uint16_t>(static_cast<const std::uint16_t*>(data), x.numel(),
                                          0x7F80);
    }
    if (plain && x.scalar_type() == at::kFloat) {
        return finite_bits<std::uint32_t>(static_cast<const std::uint32_t*>(data), x.numel(),
                                          0x7F800000);
    }
    return at::isfinite(x).all().item<bool>();
}

}  // namespace zoodip
