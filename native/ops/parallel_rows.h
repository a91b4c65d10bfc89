// Work on the rows of a matrix, shared out among torch's threads.
#pragma once

#include <algorithm>
#include <cstdint>

#include <ATen/Parallel.h>

namespace zoodip {

// Calls body(begin, end) for ranges of rows that together are [0, rows), each with enough numbers
// to outweigh handing it to a thread.
template <class Body>
void parallel_rows(std::int64_t rows, std::int64_t row_length, const Body& body) {
    const std::int64_t grain =
        std::max<std::int64_t>(1, 32768 / std::max<std::int64_t>(1, row_length));
    at::parallel_for(0, rows, grain, body);
}

}  // namespace zoodip
