// Who computes which losses of a step.
#pragma once

#include <cstdint>
#include <vector>

namespace zoodip {

// Rows [begin, end) of one sample's.
struct Share {
    std::int64_t sample = 0, begin = 0, end = 0;
    std::int64_t rows() const { return end - begin; }
};

// Of each rank, in the order of samples and rows, so that all shares one behind another are all
// losses. What passes through the UNet at once is not divided: chunks of `chunk` rows, as one
// process makes them, or for 0 all rows of a sample. A rank may have none.
std::vector<std::vector<Share>> share_out(std::int64_t samples, std::int64_t rows,
                                          std::int64_t chunk, int ranks);

// The chunk with which a step is soonest done where time goes by rows: the largest of those with
// the fewest rows on the busiest rank, at most `largest`, 0 for any.
std::int64_t best_chunk(std::int64_t samples, std::int64_t rows, std::int64_t largest, int ranks);

}  // namespace zoodip
