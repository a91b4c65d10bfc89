// Pictures: decoding, cropping, writing.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "io/pixels.h"

namespace zoodip {

// The one reader of pictures, told apart by their first bytes: JPEG, PNG and WebP, and, where the
// build has the libraries, HEIC, AVIF, GIF and BMP. Of several pictures in a file the first is
// taken, of an animation its first frame. The picture is turned as its metadata say, its colours
// are converted from its profile to sRGB, inks become colours, and transparency is laid over white.
// Sizes are checked before a pixel is decoded: at most 64 megapixels and 32768 a side. Throws
// Error, naming `name`, for anything else, for damage and for a file that was cut off; a warning
// names what a user should know of a picture that was read.
Picture decode_picture(std::span<const std::byte> bytes, const std::string& name);
Picture read_picture(const std::filesystem::path& file);  // of at most 256 MiB

// The same for pictures to learn from, which need 8 pixels a side.
constexpr int min_training_side = 8;
Picture decode_training_picture(std::span<const std::byte> bytes, const std::string& name);
Picture read_training_picture(const std::filesystem::path& file, const std::string& name);

std::vector<std::byte> encode_png(const Picture& picture);
void write_png(const std::filesystem::path& file, const Picture& picture);  // atomically

// The largest centred part with the aspect of width x height, resampled with an antialiased bicubic
// (a = -1/2; R. Keys, "Cubic convolution interpolation", 1981), first across, then down, each
// rounded to 8 bits. Pillow's BICUBIC in that order gives the same within 1 level: only the last
// bit of a weight may differ. Throws Error for a size that is not above zero.
Picture crop_resize(const Picture& picture, int width, int height);

}  // namespace zoodip
