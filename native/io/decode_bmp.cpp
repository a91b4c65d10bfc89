#include <algorithm>
#include <climits>
#include <cstdlib>
#include <memory>

#define STB_IMAGE_STATIC
#define STB_IMAGE_IMPLEMENTATION
#define STBI_ONLY_BMP
#define STBI_NO_STDIO
#define STBI_NO_LINEAR
#define STBI_NO_FAILURE_STRINGS
#include <stb_image.h>

#include "core/error.h"
#include "io/decoders.h"

namespace zoodip {
namespace {

constexpr const char* kind = "a BMP";

// A number of `size` bytes, the lowest first; 0 beyond the end.
std::uint32_t number(std::span<const std::byte> bytes, std::size_t at, std::size_t size) {
    std::uint32_t value = 0;
    for (std::size_t i = size; i-- > 0;) {
        value = value << 8 |
                (at + i < bytes.size() ? std::to_integer<std::uint32_t>(bytes[at + i]) : 0u);
    }
    return value;
}

// A height below zero says that the first row is the upper one.
std::uint64_t magnitude(std::uint32_t value) {
    return static_cast<std::uint64_t>(std::abs(std::int64_t{static_cast<std::int32_t>(value)}));
}

struct Header {
    std::uint64_t width, height, bits, pixels;  // pixels: where they begin
    std::uint32_t compression = 0, alpha_mask = 0;
};

Header read_header(std::span<const std::byte> bytes) {
    const std::uint32_t size = number(bytes, 14, 4), pixels = number(bytes, 10, 4);
    if (size == 12) {  // of OS/2
        return {number(bytes, 18, 2), number(bytes, 20, 2), number(bytes, 24, 2), pixels};
    }
    return {magnitude(number(bytes, 18, 4)),
            magnitude(number(bytes, 22, 4)),
            number(bytes, 28, 2),
            pixels,
            number(bytes, 30, 4),
            size >= 56 ? number(bytes, 66, 4) : 0};
}

}  // namespace

// stb_image fills what a cut-off file lacks with zeros, and takes the fourth byte of a pixel for
// opacity where nothing says so: both are looked at here.
DecodedPicture decode_bmp(std::span<const std::byte> bytes) {
    constexpr std::uint32_t none = 0, run_length_8 = 1, run_length_4 = 2, bit_fields = 3;
    const Header header = read_header(bytes);
    require_whole(header.width > 0 && header.height > 0, kind);
    require_picture_size(header.width, header.height);
    require(header.compression != run_length_8 && header.compression != run_length_4,
            "is a run-length compressed BMP, which is not read. Save it as PNG");
    require(header.compression == none || header.compression == bit_fields,
            "is a BMP of a compression that is not read. Save it as PNG");
    const std::uint64_t row = (header.width * header.bits + 31) / 32 * 4;
    require_whole(header.pixels + row * header.height <= bytes.size() && bytes.size() <= INT_MAX,
                  kind);
    const bool alpha =
        header.compression == bit_fields && header.bits == 32 && header.alpha_mask != 0;
    DecodedPicture picture =
        make_decoded(header.width, header.height, alpha ? Samples::rgba : Samples::rgb);
    int width = 0, height = 0, ignored = 0;
    const std::unique_ptr<stbi_uc, decltype(&stbi_image_free)> samples(
        stbi_load_from_memory(reinterpret_cast<const stbi_uc*>(bytes.data()),
                              static_cast<int>(bytes.size()), &width, &height, &ignored,
                              alpha ? 4 : 3),
        &stbi_image_free);
    require_whole(samples != nullptr && width == picture.width && height == picture.height, kind);
    std::copy_n(samples.get(), picture.samples.size(), picture.samples.begin());
    return picture;
}

}  // namespace zoodip
