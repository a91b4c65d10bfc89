// The decoders behind decode_picture. Each throws Error with what is wrong; the name of the file is
// put in front by the caller.
#pragma once

#include <cstdint>

#include "io/picture.h"

namespace zoodip {

Picture decode_jpeg(std::span<const std::byte> bytes);
Picture decode_png(std::span<const std::byte> bytes);
Picture decode_webp(std::span<const std::byte> bytes);
// What stands under a keyword in front of the pixels of a PNG; empty without one.
std::string png_text(std::span<const std::byte> bytes, const std::string& keyword);

// Throws Error for a size beyond the limits of decode_picture.
void require_picture_size(std::uint64_t width, std::uint64_t height);

// An empty picture of this size.
Picture make_picture(int width, int height);

// `value` with coverage alpha (0 to 255) over white, rounded.
inline std::uint8_t over_white(unsigned value, unsigned alpha) {
    return static_cast<std::uint8_t>((value * alpha + 255 * (255 - alpha) + 127) / 255);
}

}  // namespace zoodip
