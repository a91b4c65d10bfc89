// Which way up a camera held its sensor: EXIF 2.32, tag 0x0112.
#pragma once

#include <cstddef>
#include <span>

#include "io/picture.h"

namespace zoodip {

// The orientation, 1 to 8, that EXIF data (a TIFF header and its first directory) states; 1 when it
// states none or is damaged. A leading "Exif\0\0" is passed over.
int exif_orientation(std::span<const std::byte> exif);

// The picture upright. Orientations other than 2 to 8 return it as it is.
Picture upright(Picture picture, int orientation);

}  // namespace zoodip
