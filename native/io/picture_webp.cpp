// WebP by libwebp.
#include <algorithm>
#include <string_view>
#include <webp/decode.h>

#include "core/error.h"
#include "io/orientation.h"
#include "io/picture_codecs.h"

namespace zoodip {
namespace {

// A RIFF file is "RIFF", its size, "WEBP", then chunks: four letters, a little-endian size, data
// padded to an even size.
int orientation_of(std::span<const std::byte> bytes) {
    std::size_t at = 12;
    while (at + 8 <= bytes.size()) {
        std::uint32_t size = 0;
        for (std::size_t i = 0; i < 4; ++i) {
            size |= std::to_integer<std::uint32_t>(bytes[at + 4 + i]) << (8 * i);
        }
        const std::size_t left = bytes.size() - at - 8;
        if (size > left) return 1;
        const std::string_view kind(reinterpret_cast<const char*>(bytes.data() + at), 4);
        if (kind == "EXIF") return exif_orientation(bytes.subspan(at + 8, size));
        at += 8 + std::min<std::size_t>(left, std::size_t{size} + size % 2);
    }
    return 1;
}

}  // namespace

Picture decode_webp(std::span<const std::byte> bytes, const std::string& name,
                    const PictureLimits& limits) {
    const auto* data = reinterpret_cast<const std::uint8_t*>(bytes.data());
    const auto require_whole = [&](bool ok) {
        require(ok, name, ": is a damaged or truncated WebP. Save or download it again");
    };
    WebPBitstreamFeatures features;
    require_whole(WebPGetFeatures(data, bytes.size(), &features) == VP8_STATUS_OK);
    require(features.has_animation == 0, name,
            ": is an animated WebP; still pictures are read. Save one of its frames");
    require_picture_size(features.width, features.height, name, limits);
    Picture picture{features.width, features.height, {}};
    const auto pixels = static_cast<std::size_t>(features.width) * features.height;
    picture.rgb.resize(3 * pixels);
    if (features.has_alpha != 0) {
        std::vector<std::uint8_t> rgba(4 * pixels);
        require_whole(WebPDecodeRGBAInto(data, bytes.size(), rgba.data(), rgba.size(),
                                         4 * picture.width) != nullptr);
        blend_over_white(rgba, picture.rgb);
    } else {
        require_whole(WebPDecodeRGBInto(data, bytes.size(), picture.rgb.data(), picture.rgb.size(),
                                        3 * picture.width) != nullptr);
    }
    return upright(std::move(picture), orientation_of(bytes));
}

}  // namespace zoodip
