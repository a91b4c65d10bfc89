// Which timestep a training step looks at.
#pragma once

#include <cstdint>

#include "core/random.h"

namespace zoodip {

// Partial uniform timestep sampling, PUTS (ZOODiP Eq. 9): t ~ U{lower, ..., upper - 1}.
struct PartialUniformPlan {
    std::int64_t lower = 500, upper = 900;

    std::int64_t draw(std::uint64_t seed, std::uint64_t step) const {
        return RandomBlock(seed, Stream::timestep, step).integer(lower, upper);
    }
};

}  // namespace zoodip
