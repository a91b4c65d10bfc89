// What a UNet with size conditioning is told of a picture (Podell et al. 2023, arXiv 2307.01952,
// section 2.2).
#pragma once

#include <cstdint>

namespace zoodip {

// In pixels. Models without size conditioning ignore it.
struct PictureSize {
    std::int64_t original_height = 0, original_width = 0;  // before it was made smaller
    std::int64_t crop_top = 0, crop_left = 0;          // what was cut off, at the target's scale
    std::int64_t target_height = 0, target_width = 0;  // that the UNet sees

    // Of a picture that was neither made smaller nor cut: what hosts tell when they sample.
    static PictureSize whole(std::int64_t height, std::int64_t width) {
        return {height, width, 0, 0, height, width};
    }

    // Of a picture's middle square at side x side, or of its mirror image.
    static PictureSize square_of(std::int64_t height, std::int64_t width, std::int64_t side,
                                 bool mirrored);

    bool operator==(const PictureSize&) const = default;
};

}  // namespace zoodip
