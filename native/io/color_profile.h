// Colours of a profile, as those of sRGB.
#pragma once

#include "io/decoders.h"

namespace zoodip {

constexpr const char* damaged_profile =
    "has a colour profile that is damaged or does not fit the picture; its colours are taken as "
    "sRGB";

// Converts the samples from the picture's profile (ICC.1, of version 2 or 4) to sRGB, with the
// perceptual intent, as ImageCms and browsers do; cmyk becomes rgb. A picture without a profile, or
// with one that is sRGB's but for rounding, keeps its samples. A profile that is damaged or is one
// of another kind of picture is left out, with a note.
void convert_to_srgb(DecodedPicture& picture);

// An ICC profile of RGB primaries (CIE x, y), D65-like white point and sRGB's transfer curve.
std::vector<std::byte> profile_of_primaries(const float (&white)[2], const float (&red)[2],
                                            const float (&green)[2], const float (&blue)[2]);

}  // namespace zoodip
