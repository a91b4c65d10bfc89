#include <algorithm>
#include <array>
#include <cstring>
#include <gif_lib.h>
#include <memory>
#include <optional>

#include "core/error.h"
#include "io/decoders.h"

namespace zoodip {
namespace {

constexpr const char* kind = "a GIF";

int read_bytes(GifFileType* gif, GifByteType* out, int size) {
    auto& left = *static_cast<std::span<const std::byte>*>(gif->UserData);
    const auto count = std::min(left.size(), static_cast<std::size_t>(std::max(size, 0)));
    if (count > 0) std::memcpy(out, left.data(), count);
    left = left.subspan(count);
    return static_cast<int>(count);
}

struct CloseGif {
    void operator()(GifFileType* gif) const { DGifCloseFile(gif, nullptr); }
};
using Gif = std::unique_ptr<GifFileType, CloseGif>;

// Reads on to the next frame; false at the end of the file. `transparent` becomes the index of the
// colour that shows nothing, where an extension on the way names one.
bool find_frame(GifFileType* gif, std::optional<int>& transparent) {
    for (;;) {
        GifRecordType record{};
        require_whole(DGifGetRecordType(gif, &record) == GIF_OK, kind);
        if (record == TERMINATE_RECORD_TYPE) return false;
        if (record == IMAGE_DESC_RECORD_TYPE) return true;
        if (record != EXTENSION_RECORD_TYPE) continue;
        int code = 0;
        GifByteType* block = nullptr;  // its length, then its bytes
        require_whole(DGifGetExtension(gif, &code, &block) == GIF_OK, kind);
        if (code == GRAPHICS_EXT_FUNC_CODE && block != nullptr && block[0] >= 4) {
            transparent = (block[1] & 1) != 0 ? std::optional<int>(block[4]) : std::nullopt;
        }
        while (block != nullptr) require_whole(DGifGetExtensionNext(gif, &block) == GIF_OK, kind);
    }
}

// The indices of a frame, row by row. An interlaced one has every eighth row first.
std::vector<GifPixelType> read_indices(GifFileType* gif) {
    struct Pass {
        int first, step;
    };
    static constexpr std::array<Pass, 4> interlaced = {{{0, 8}, {4, 8}, {2, 4}, {1, 2}}};
    static constexpr std::array<Pass, 1> plain = {{{0, 1}}};
    const GifImageDesc& frame = gif->Image;
    std::vector<GifPixelType> indices(static_cast<std::size_t>(frame.Width) *
                                      static_cast<std::size_t>(frame.Height));
    const auto read = [&](const Pass& pass) {
        for (int y = pass.first; y < frame.Height; y += pass.step) {
            GifPixelType* row =
                &indices[static_cast<std::size_t>(y) * static_cast<std::size_t>(frame.Width)];
            require_whole(DGifGetLine(gif, row, frame.Width) == GIF_OK, kind);
        }
    };
    if (frame.Interlace) {
        std::for_each(interlaced.begin(), interlaced.end(), read);
    } else {
        std::for_each(plain.begin(), plain.end(), read);
    }
    return indices;
}

using Colours = std::array<std::array<std::uint8_t, 4>, 256>;

// A file without a table means shades of grey.
Colours colours_of(const GifFileType* gif, std::optional<int> transparent) {
    Colours colours{};
    const ColorMapObject* map =
        gif->Image.ColorMap != nullptr ? gif->Image.ColorMap : gif->SColorMap;
    for (int i = 0; i < 256; ++i) {
        const auto grey = static_cast<std::uint8_t>(map == nullptr ? i : 0);
        auto& colour = colours[static_cast<std::size_t>(i)];
        colour = {grey, grey, grey, static_cast<std::uint8_t>(transparent == i ? 0 : 255)};
        if (map == nullptr || i >= map->ColorCount) continue;
        const GifColorType& from = map->Colors[i];
        colour = {from.Red, from.Green, from.Blue, colour[3]};
    }
    return colours;
}

bool has_another_frame(GifFileType* gif) {
    try {
        std::optional<int> ignored;
        return find_frame(gif, ignored);
    } catch (const Error&) {  // the first is whole
        return false;
    }
}

}  // namespace

DecodedPicture decode_gif(std::span<const std::byte> bytes) {
    std::span<const std::byte> left = bytes;
    const Gif gif(DGifOpen(&left, read_bytes, nullptr));
    require_whole(gif != nullptr, kind);
    std::optional<int> transparent;
    require(find_frame(gif.get(), transparent), "is a GIF without a picture");
    require_whole(DGifGetImageDesc(gif.get()) == GIF_OK, kind);
    const GifImageDesc& frame = gif->Image;
    require_whole(frame.Width > 0 && frame.Height > 0 && frame.Left >= 0 && frame.Top >= 0, kind);
    const int width = std::max(gif->SWidth, frame.Left + frame.Width);
    const int height = std::max(gif->SHeight, frame.Top + frame.Height);
    require_picture_size(static_cast<std::uint64_t>(width), static_cast<std::uint64_t>(height));
    const std::vector<GifPixelType> indices = read_indices(gif.get());
    const Colours colours = colours_of(gif.get(), transparent);
    DecodedPicture picture = make_decoded(static_cast<std::uint64_t>(width),
                                          static_cast<std::uint64_t>(height), Samples::rgba);
    const auto& around = colours[static_cast<std::size_t>(transparent.value_or(0))];
    for (int y = 0; y < height; ++y) {
        for (int x = 0; x < width; ++x) {
            const int column = x - frame.Left, row = y - frame.Top;
            const bool inside =
                column >= 0 && column < frame.Width && row >= 0 && row < frame.Height;
            const auto& colour =
                inside ? colours[indices[static_cast<std::size_t>(row) * frame.Width + column]]
                       : around;
            std::memcpy(&picture.samples[4 * (static_cast<std::size_t>(y) * width + x)],
                        colour.data(), 4);
        }
    }
    if (has_another_frame(gif.get())) picture.notes.emplace_back(first_of_animation);
    return picture;
}

}  // namespace zoodip
