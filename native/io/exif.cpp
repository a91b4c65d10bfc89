#include "io/exif.h"

#include <cstdint>
#include <cstring>
#include <optional>

#include "io/decoders.h"

namespace zoodip {
namespace {

// Numbers of a TIFF body in its own byte order; nullopt beyond its end.
class Tiff {
  public:
    explicit Tiff(std::span<const std::byte> bytes)
        : bytes_(bytes), big_(!bytes.empty() && bytes[0] == std::byte{'M'}) {}

    std::optional<std::uint32_t> number(std::size_t at, std::size_t size) const {
        if (at > bytes_.size() || bytes_.size() - at < size) return std::nullopt;
        std::uint32_t value = 0;
        for (std::size_t i = 0; i < size; ++i) {
            const std::size_t from = big_ ? at + i : at + size - 1 - i;
            value = value << 8 | std::to_integer<std::uint32_t>(bytes_[from]);
        }
        return value;
    }

  private:
    std::span<const std::byte> bytes_;
    bool big_;
};

}  // namespace

int exif_orientation(std::span<const std::byte> app1) {
    if (app1.size() < 14 || std::memcmp(app1.data(), "Exif\0\0", 6) != 0) return 1;
    const Tiff tiff(app1.subspan(6));
    const std::uint32_t directory = tiff.number(4, 4).value_or(0);
    const std::uint32_t entries = tiff.number(directory, 2).value_or(0);
    for (std::size_t i = 0; i < entries; ++i) {
        const std::size_t entry = std::size_t{directory} + 2 + 12 * i;
        const auto tag = tiff.number(entry, 2);
        if (!tag) return 1;
        if (*tag != 0x0112) continue;
        const std::uint32_t value = tiff.number(entry + 8, 2).value_or(1);
        return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
    }
    return 1;
}

Picture apply_orientation(Picture picture, int orientation) {
    if (orientation <= 1) return picture;
    const int w = picture.width, h = picture.height;
    const bool swaps = orientation >= 5;
    Picture out = make_picture(swaps ? h : w, swaps ? w : h);
    for (int y = 0; y < out.height; ++y) {
        for (int x = 0; x < out.width; ++x) {
            // Where in the stored picture the pixel seen at (x, y) lies.
            int from_x = swaps ? y : x, from_y = swaps ? x : y;
            const bool mirror_x =
                orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
            const bool mirror_y =
                orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
            if (mirror_x) from_x = w - 1 - from_x;
            if (mirror_y) from_y = h - 1 - from_y;
            const auto from = (static_cast<std::size_t>(from_y) * w + from_x) * 3;
            const auto to = (static_cast<std::size_t>(y) * out.width + x) * 3;
            std::memcpy(&out.rgb[to], &picture.rgb[from], 3);
        }
    }
    return out;
}

}  // namespace zoodip
