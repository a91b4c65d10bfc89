// The orientation that a camera notes in a picture's EXIF data.
#pragma once

#include <cstddef>
#include <span>

#include "io/picture.h"

namespace zoodip {

// 1 to 8 from the body of an APP1 segment ("Exif\0\0" and a TIFF header); 1 when there is none or
// the data is malformed.
int exif_orientation(std::span<const std::byte> app1);

// The picture as it is meant to be seen.
Picture apply_orientation(Picture picture, int orientation);

}  // namespace zoodip
