// A picture in memory.
#pragma once

#include <cstdint>
#include <vector>

namespace zoodip {

// 8-bit RGB, row by row: rgb[(y * width + x) * 3 + channel].
struct Picture {
    int width = 0, height = 0;
    std::vector<std::uint8_t> rgb;
};

}  // namespace zoodip
