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
        : bytes_(bytes), big_(bytes[0] == std::byte{'M'}) {}

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

// The tag's value; nullopt when it is not there. One of another form than a whole number is 1.
std::optional<std::uint32_t> exif_value(std::span<const std::byte> exif) {
    constexpr std::uint32_t tag = 0x0112, two_bytes = 3, four_bytes = 4;
    while (exif.size() >= 6 && std::memcmp(exif.data(), "Exif\0\0", 6) == 0) {
        exif = exif.subspan(6);
    }
    if (exif.size() < 8 || exif[0] != exif[1]) return std::nullopt;
    const Tiff tiff(exif);
    const std::uint32_t directory = tiff.number(4, 4).value_or(0);
    const std::uint32_t entries = tiff.number(directory, 2).value_or(0);
    for (std::size_t i = 0; i < entries; ++i) {
        const std::size_t entry = std::size_t{directory} + 2 + 12 * i;
        const auto found = tiff.number(entry, 2);
        if (!found) return std::nullopt;
        if (*found != tag) continue;
        const std::uint32_t type = tiff.number(entry + 2, 2).value_or(0);
        if (tiff.number(entry + 4, 4) != 1u) return 1;
        if (type == two_bytes) return tiff.number(entry + 8, 2);
        if (type == four_bytes) return tiff.number(entry + 8, 4);
        return 1;
    }
    return std::nullopt;
}

// As an attribute or as an element.
std::uint32_t xmp_value(std::string_view xmp) {
    constexpr std::string_view name = "tiff:Orientation";
    for (std::size_t at = xmp.find(name); at != std::string_view::npos; at = xmp.find(name, at)) {
        at += name.size();
        std::string_view rest = xmp.substr(at);
        const std::size_t skip = rest.starts_with("=\"") ? 2 : rest.starts_with(">") ? 1 : 0;
        if (skip == 0) continue;
        rest.remove_prefix(skip);
        if (!rest.empty() && rest[0] >= '0' && rest[0] <= '9') {
            return static_cast<std::uint32_t>(rest[0] - '0');
        }
    }
    return 1;
}

}  // namespace

int orientation_of(std::span<const std::byte> exif, std::string_view xmp) {
    const auto noted = exif_value(exif);
    const std::uint32_t value = noted ? *noted : xmp_value(xmp);
    return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
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
