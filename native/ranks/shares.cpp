#include "ranks/shares.h"

#include <algorithm>

namespace zoodip {
namespace {

std::int64_t chunks_of(std::int64_t rows, std::int64_t chunk) {
    return (rows + chunk - 1) / chunk;
}

}  // namespace

std::vector<std::vector<Share>> share_out(std::int64_t samples, std::int64_t rows,
                                          std::int64_t chunk, int ranks) {
    const std::int64_t size = chunk == 0 ? rows : std::min(rows, chunk);
    const std::int64_t per_sample = chunks_of(rows, size), units = samples * per_sample;
    std::vector<std::vector<Share>> shares(static_cast<std::size_t>(ranks));
    for (int rank = 0; rank < ranks; ++rank) {
        std::vector<Share>& own = shares[static_cast<std::size_t>(rank)];
        for (std::int64_t i = units * rank / ranks; i < units * (rank + 1) / ranks; ++i) {
            const std::int64_t sample = i / per_sample, begin = i % per_sample * size;
            const std::int64_t end = std::min(rows, begin + size);
            if (!own.empty() && own.back().sample == sample) {
                own.back().end = end;
            } else {
                own.push_back({sample, begin, end});
            }
        }
    }
    return shares;
}

std::int64_t best_chunk(std::int64_t samples, std::int64_t rows, std::int64_t largest, int ranks) {
    const auto busiest = [&](std::int64_t chunk) {
        const std::int64_t units = samples * chunks_of(rows, chunk);
        return (units + ranks - 1) / ranks * chunk;
    };
    std::int64_t best = largest == 0 ? rows : std::min(rows, largest);
    for (std::int64_t chunk = best - 1; chunk > 0; --chunk) {
        if (busiest(chunk) < busiest(best)) best = chunk;
    }
    return best;
}

}  // namespace zoodip
