#include <cstring>
#include <memory>
#include <string_view>
#include <webp/decode.h>
#include <webp/demux.h>

#include "core/error.h"
#include "io/decoders.h"
#include "io/exif.h"

namespace zoodip {
namespace {

constexpr const char* kind = "a WebP";

struct DeleteDemuxer {
    void operator()(WebPDemuxer* demuxer) const { WebPDemuxDelete(demuxer); }
};

using Demuxer = std::unique_ptr<WebPDemuxer, DeleteDemuxer>;

std::vector<std::byte> chunk(const Demuxer& demuxer, const char* name) {
    WebPChunkIterator found{};
    std::vector<std::byte> out;
    if (WebPDemuxGetChunk(demuxer.get(), name, 1, &found) != 0) {
        const auto view = std::as_bytes(std::span(found.chunk.bytes, found.chunk.size));
        out.assign(view.begin(), view.end());
    }
    WebPDemuxReleaseChunkIterator(&found);
    return out;
}

void decode_into(const WebPData& data, int width, int height, std::vector<std::uint8_t>& rgba) {
    rgba.resize(std::size_t{4} * static_cast<std::size_t>(width) *
                static_cast<std::size_t>(height));
    require_whole(
        WebPDecodeRGBAInto(data.bytes, data.size, rgba.data(), rgba.size(), 4 * width) != nullptr,
        kind);
}

// The first frame of an animation where it lies on the canvas, which is transparent elsewhere.
void decode_first_frame(const Demuxer& demuxer, DecodedPicture& picture) {
    WebPIterator frame{};
    const bool found = demuxer && WebPDemuxGetFrame(demuxer.get(), 1, &frame) != 0;
    const std::unique_ptr<WebPIterator, decltype(&WebPDemuxReleaseIterator)> held(
        &frame, &WebPDemuxReleaseIterator);
    require_whole(found && frame.complete != 0 && frame.x_offset >= 0 && frame.y_offset >= 0 &&
                      frame.width <= picture.width - frame.x_offset &&
                      frame.height <= picture.height - frame.y_offset,
                  kind);
    std::vector<std::uint8_t> rgba;
    decode_into(frame.fragment, frame.width, frame.height, rgba);
    const std::size_t row = std::size_t{4} * static_cast<std::size_t>(frame.width);
    for (int y = 0; y < frame.height; ++y) {
        const auto to =
            static_cast<std::size_t>(y + frame.y_offset) * static_cast<std::size_t>(picture.width) +
            static_cast<std::size_t>(frame.x_offset);
        std::memcpy(&picture.samples[4 * to], &rgba[static_cast<std::size_t>(y) * row], row);
    }
}

}  // namespace

DecodedPicture decode_webp(std::span<const std::byte> bytes) {
    const WebPData data{reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()};
    WebPBitstreamFeatures features{};
    require_whole(WebPGetFeatures(data.bytes, data.size, &features) == VP8_STATUS_OK &&
                      features.width > 0 && features.height > 0,
                  kind);
    const auto width = static_cast<std::uint64_t>(features.width);
    const auto height = static_cast<std::uint64_t>(features.height);
    require_picture_size(width, height);
    DecodedPicture picture = make_decoded(width, height, Samples::rgba);
    WebPDemuxState state{};
    const Demuxer demuxer(WebPDemuxPartial(&data, &state));
    if (demuxer) {
        // Metadata stands behind the pixels: what was cut off might say which way up they are.
        const bool extended =
            (WebPDemuxGetI(demuxer.get(), WEBP_FF_FORMAT_FLAGS) & (EXIF_FLAG | XMP_FLAG)) != 0;
        require_whole(!extended || state == WEBP_DEMUX_DONE, kind);
        const auto exif = chunk(demuxer, "EXIF"), xmp = chunk(demuxer, "XMP ");
        picture.orientation =
            orientation_of(exif, {reinterpret_cast<const char*>(xmp.data()), xmp.size()});
        picture.icc = chunk(demuxer, "ICCP");
    }
    if (features.has_animation != 0) {
        decode_first_frame(demuxer, picture);
        picture.notes.emplace_back(first_of_animation);
    } else {
        decode_into(data, features.width, features.height, picture.samples);
    }
    return picture;
}

}  // namespace zoodip
