#include "core/random.h"

#include <cmath>
#include <numbers>
#include <numeric>
#include <utility>
#include <vector>

#include "core/error.h"

namespace zoodip {

std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter,
                                        std::array<std::uint32_t, 2> key) {
    constexpr std::uint64_t m0 = 0xD2511F53, m1 = 0xCD9E8D57;
    for (int round = 0; round < 10; ++round) {
        const std::uint64_t p0 = m0 * counter[0];
        const std::uint64_t p1 = m1 * counter[2];
        counter = {static_cast<std::uint32_t>(p1 >> 32) ^ counter[1] ^ key[0],
                   static_cast<std::uint32_t>(p1),
                   static_cast<std::uint32_t>(p0 >> 32) ^ counter[3] ^ key[1],
                   static_cast<std::uint32_t>(p0)};
        key[0] += 0x9E3779B9;
        key[1] += 0xBB67AE85;
    }
    return counter;
}

std::array<std::uint32_t, 4> RandomBlock::block(std::uint64_t index) const {
    // The counter is (index, step low, step high and stream): 2^32 blocks of four numbers a step,
    // 2^56 steps, 2^8 streams. They cannot meet.
    require(index < (1ull << 32) && step_ < (1ull << 56), "random: index or step is out of range");
    return philox4x32(
        {static_cast<std::uint32_t>(index), static_cast<std::uint32_t>(step_),
         static_cast<std::uint32_t>(step_ >> 32) | (static_cast<std::uint32_t>(stream_) << 24), 0},
        {static_cast<std::uint32_t>(seed_), static_cast<std::uint32_t>(seed_ >> 32)});
}

double RandomBlock::uniform(std::uint64_t index) const {
    return block(index / 4)[index % 4] * 0x1p-32;
}

std::int64_t RandomBlock::integer(std::int64_t low, std::int64_t high, std::uint64_t index) const {
    require(high > low && high - low < (1ll << 32), "random: needs low < high < low + 2^32, got [",
            low, ", ", high, ")");
    // Multiply and shift: the bias is below (high - low) / 2^32, far below any use here.
    const auto range = static_cast<std::uint64_t>(high - low);
    return low + static_cast<std::int64_t>((block(index / 4)[index % 4] * range) >> 32);
}

void RandomBlock::fill_normal(std::span<float> out, std::uint64_t offset) const {
    require(offset % 2 == 0, "random: normals come in pairs, got odd offset ", offset);
    std::array<std::uint32_t, 4> bits{};
    std::uint64_t held = ~0ull;
    for (std::size_t i = 0; i < out.size(); i += 2) {
        const std::uint64_t index = offset + i;
        if (index / 4 != held) bits = block(held = index / 4);
        // (bits + 0.5) / 2^32 lies in (0, 1): the logarithm is finite.
        const double u = (bits[index % 4] + 0.5) * 0x1p-32;
        const double angle = 2 * std::numbers::pi * (bits[index % 4 + 1] * 0x1p-32);
        const double radius = std::sqrt(-2 * std::log(u));
        out[i] = static_cast<float>(radius * std::cos(angle));
        if (i + 1 < out.size()) out[i + 1] = static_cast<float>(radius * std::sin(angle));
    }
}

std::int64_t shuffled(std::uint64_t seed, Stream stream, std::uint64_t step, std::int64_t count,
                      std::uint64_t index) {
    const RandomBlock block(seed, stream, step);
    std::vector<std::int64_t> order(static_cast<std::size_t>(count));
    std::iota(order.begin(), order.end(), std::int64_t{0});
    for (std::size_t i = order.size(); i > 1; --i) {
        const auto other = block.integer(0, static_cast<std::int64_t>(i), i);
        std::swap(order[i - 1], order[static_cast<std::size_t>(other)]);
    }
    return order.at(index);
}

}  // namespace zoodip
