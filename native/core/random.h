// Randomness as a value: (seed, stream, step, index) -> numbers. There is no generator with state,
// so resuming, chunking and sharding cannot change a draw.
//
// Philox4x32-10: Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace zoodip {

// One independent stream for each use of randomness.
enum class Stream : std::uint32_t {
    picture = 1,       // which picture a step takes
    flip = 2,          // whether it is mirrored
    timestep = 3,      // t
    noise = 4,         // eps
    latent = 5,        // the VAE posterior's sample
    direction = 6,     // e_i
    sampler = 7,       // the sampler's initial noise
    test_data = 8,     // made-up weights and inputs
    stratum = 9,       // the order of the parts of a timestep range
    caption = 10,      // which of a picture's captions a step takes
    validation = 11,   // the samples that validation looks at
    sensitivity = 12,  // the probes of sensitive directions
};

// Ten rounds of Philox on one counter block.
std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter,
                                        std::array<std::uint32_t, 2> key);

// The numbers of one (seed, stream, step). Elements are addressed by index: fill_*(out, offset)
// writes elements offset, offset + 1, ...; the same element always has the same value.
class RandomBlock {
  public:
    RandomBlock(std::uint64_t seed, Stream stream, std::uint64_t step)
        : seed_(seed), stream_(stream), step_(step) {}

    // Uniform in [0, 1), 32 bits of resolution.
    double uniform(std::uint64_t index) const;
    // Uniform integer in [low, high), high > low, high - low < 2^32.
    std::int64_t integer(std::int64_t low, std::int64_t high, std::uint64_t index = 0) const;
    // N(0, 1) by Box-Muller; offset must be even.
    void fill_normal(std::span<float> out, std::uint64_t offset = 0) const;

  private:
    std::array<std::uint32_t, 4> block(std::uint64_t index) const;

    std::uint64_t seed_;
    Stream stream_;
    std::uint64_t step_;
};

// Place `index` of the numbers 0 .. count - 1 in the order of round `step`, each once
// (Fisher and Yates). 0 <= index < count.
std::int64_t shuffled(std::uint64_t seed, Stream stream, std::uint64_t step, std::int64_t count,
                      std::uint64_t index);

}  // namespace zoodip
