// The decoders behind decode_picture. Each throws Error with what is wrong; the name of the file is
// put in front by the caller.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "io/pixels.h"

namespace zoodip {

enum class Samples { rgb, rgba, cmyk };  // cmyk: 255 is full ink

// What a file holds, before its colours are converted, laid over white and turned.
struct DecodedPicture {
    int width = 0, height = 0;
    Samples layout = Samples::rgb;
    std::vector<std::uint8_t> samples;  // row by row, 3 or 4 bytes a pixel, opacity not multiplied
    bool grey = false;                  // the file has one channel: red, green and blue are equal
    int orientation = 1;                // of EXIF, 1 to 8
    std::vector<std::byte> icc;         // the profile of the colours, if there is one
    std::vector<std::string> notes;     // what a user should know, each a sentence of a warning
};

DecodedPicture decode_jpeg(std::span<const std::byte> bytes);
DecodedPicture decode_png(std::span<const std::byte> bytes);
DecodedPicture decode_webp(std::span<const std::byte> bytes);
// These need a library that a build may lack (decode_absent.cpp); the error names it then.
DecodedPicture decode_gif(std::span<const std::byte> bytes);  // the first frame
DecodedPicture decode_bmp(std::span<const std::byte> bytes);
DecodedPicture decode_heif(std::span<const std::byte> bytes);  // HEIC and AVIF
// What stands under a keyword in front of the pixels of a PNG; empty without one.
std::string png_text(std::span<const std::byte> bytes, const std::string& keyword);

// Throws Error for a size beyond the limits of decode_picture.
void require_picture_size(std::uint64_t width, std::uint64_t height);

// Pictures of this size, of zeros.
Picture make_picture(int width, int height);
DecodedPicture make_decoded(std::uint64_t width, std::uint64_t height, Samples layout);

// Throws Error where a file, "a GIF", is damaged; `detail` is what its library says of it.
void require_whole(bool whole, const char* kind, const char* detail = nullptr);

constexpr const char* first_of_animation = "is an animation; its first picture is taken";

// `value` with coverage alpha (0 to 255) over white, rounded.
inline std::uint8_t over_white(unsigned value, unsigned alpha) {
    return static_cast<std::uint8_t>((value * alpha + 255 * (255 - alpha) + 127) / 255);
}

// What one of the inks cyan, magenta, yellow and black leave of white light.
inline std::uint8_t without_inks(unsigned ink, unsigned black) {
    return static_cast<std::uint8_t>(((255 - ink) * (255 - black) + 127) / 255);
}

}  // namespace zoodip
