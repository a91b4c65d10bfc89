#include "pictures/picture_size.h"

#include <algorithm>

namespace zoodip {

PictureSize PictureSize::square_of(std::int64_t height, std::int64_t width, std::int64_t side,
                                   bool mirrored) {
    const std::int64_t shorter = std::min(height, width);
    // What is over on both sides of the square once the shorter side is `side` long.
    const auto over = [&](std::int64_t length) {
        return (length * side + shorter / 2) / shorter - side;
    };
    const std::int64_t left = over(width) / 2;
    return {height, width, over(height) / 2, mirrored ? over(width) - left : left, side, side};
}

}  // namespace zoodip
