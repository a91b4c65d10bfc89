// The orientation that a camera notes in a picture's metadata.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "io/pixels.h"

namespace zoodip {

// 1 to 8, from EXIF (a TIFF header, with or without "Exif\0\0" before it) or, where that names
// none, from tiff:Orientation in XMP. 1 when there is none or the data is malformed.
int orientation_of(std::span<const std::byte> exif, std::string_view xmp);

// The picture as it is meant to be seen.
Picture apply_orientation(Picture picture, int orientation);

}  // namespace zoodip
