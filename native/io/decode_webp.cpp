#include <webp/decode.h>

#include "core/error.h"
#include "io/decoders.h"

namespace zoodip {

Picture decode_webp(std::span<const std::byte> bytes) {
    const auto* data = reinterpret_cast<const std::uint8_t*>(bytes.data());
    WebPBitstreamFeatures features{};
    require(WebPGetFeatures(data, bytes.size(), &features) == VP8_STATUS_OK, "is a damaged WebP");
    require(features.has_animation == 0, "is an animated WebP. Save one frame of it as a picture");
    require(features.width > 0 && features.height > 0, "is a damaged WebP");
    require_picture_size(static_cast<std::uint64_t>(features.width),
                         static_cast<std::uint64_t>(features.height));
    const auto pixels =
        static_cast<std::size_t>(features.width) * static_cast<std::size_t>(features.height);
    std::vector<std::uint8_t> rgba(4 * pixels);
    require(WebPDecodeRGBAInto(data, bytes.size(), rgba.data(), rgba.size(), 4 * features.width) !=
                nullptr,
            "is a WebP that is damaged or cut off");
    Picture picture = make_picture(features.width, features.height);
    for (std::size_t i = 0; i < pixels; ++i) {
        for (std::size_t c = 0; c < 3; ++c) {
            picture.rgb[3 * i + c] = over_white(rgba[4 * i + c], rgba[4 * i + 3]);
        }
    }
    return picture;
}

}  // namespace zoodip
