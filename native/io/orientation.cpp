#include "io/orientation.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>

namespace zoodip {
namespace {

constexpr std::uint32_t orientation_tag = 0x0112, short_type = 3;

class TiffReader {
  public:
    explicit TiffReader(std::span<const std::byte> bytes) : bytes_(bytes) {
        little_ = number(0, 1) == 'I' && number(1, 1) == 'I';
        valid_ = (little_ || (number(0, 1) == 'M' && number(1, 1) == 'M')) && number(2, 2) == 42;
    }

    bool valid() const { return valid_; }
    bool holds(std::uint64_t offset, std::uint64_t size) const {
        return offset <= bytes_.size() && size <= bytes_.size() - offset;
    }
    // An unsigned number of 1, 2 or 4 bytes; 0 outside the data.
    std::uint32_t number(std::uint64_t offset, std::size_t size) const {
        if (!holds(offset, size)) return 0;
        std::uint32_t value = 0;
        for (std::size_t i = 0; i < size; ++i) {
            const std::size_t place = little_ ? size - 1 - i : i;
            value = value << 8 | std::to_integer<std::uint32_t>(bytes_[offset + place]);
        }
        return value;
    }

  private:
    std::span<const std::byte> bytes_;
    bool little_ = false, valid_ = false;
};

struct Point {
    int x, y;
};

// Where the upright pixel (x, y) lies in the stored picture of the given size.
Point stored_at(int orientation, int x, int y, int width, int height) {
    switch (orientation) {
        case 2:
            return {width - 1 - x, y};
        case 3:
            return {width - 1 - x, height - 1 - y};
        case 4:
            return {x, height - 1 - y};
        case 5:
            return {y, x};
        case 6:
            return {y, height - 1 - x};
        case 7:
            return {width - 1 - y, height - 1 - x};
        case 8:
            return {width - 1 - y, x};
        default:
            return {x, y};
    }
}

}  // namespace

int exif_orientation(std::span<const std::byte> exif) {
    static constexpr std::array<unsigned char, 6> prefix = {'E', 'x', 'i', 'f', 0, 0};
    const auto start = std::as_bytes(std::span(prefix));
    if (exif.size() >= start.size() && std::equal(start.begin(), start.end(), exif.begin())) {
        exif = exif.subspan(start.size());
    }
    const TiffReader tiff(exif);
    if (!tiff.valid()) return 1;
    const std::uint64_t directory = tiff.number(4, 4);
    const std::uint32_t count = tiff.number(directory, 2);
    for (std::uint32_t i = 0; i < count; ++i) {
        const std::uint64_t entry = directory + 2 + 12ull * i;
        if (!tiff.holds(entry, 12)) return 1;
        if (tiff.number(entry, 2) != orientation_tag) continue;
        const std::uint32_t value = tiff.number(entry + 8, 2);
        const bool stated =
            tiff.number(entry + 2, 2) == short_type && tiff.number(entry + 4, 4) == 1;
        return stated && value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
    }
    return 1;
}

Picture upright(Picture picture, int orientation) {
    if (orientation < 2 || orientation > 8) return picture;
    Picture out{picture.width, picture.height, {}};
    if (orientation >= 5) std::swap(out.width, out.height);
    out.rgb.resize(picture.rgb.size());
    std::uint8_t* to = out.rgb.data();
    for (int y = 0; y < out.height; ++y) {
        for (int x = 0; x < out.width; ++x, to += 3) {
            const Point from = stored_at(orientation, x, y, picture.width, picture.height);
            const std::size_t pixel = static_cast<std::size_t>(from.y) * picture.width + from.x;
            std::copy_n(picture.rgb.data() + 3 * pixel, 3, to);
        }
    }
    return out;
}

}  // namespace zoodip
