#include "io/picture_kind.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace zoodip {
namespace {

using Bytes = std::span<const std::byte>;

bool begins(Bytes bytes, std::string_view start, std::size_t at = 0) {
    return bytes.size() >= at + start.size() &&
           std::equal(start.begin(), start.end(), bytes.begin() + static_cast<std::ptrdiff_t>(at),
                      [](char a, std::byte b) { return std::byte(a) == b; });
}

// Whether an ISO base media file names this brand: first its own, then, behind a version, those
// that it is compatible with.
bool has_brand(Bytes bytes, std::string_view brand) {
    if (!begins(bytes, "ftyp", 4)) return false;
    std::size_t box = 0;
    for (std::size_t i = 0; i < 4; ++i) box = box << 8 | std::to_integer<std::size_t>(bytes[i]);
    const std::size_t end = std::min({box, bytes.size(), std::size_t{256}});
    if (begins(bytes, brand, 8)) return true;
    for (std::size_t at = 16; at + 4 <= end; at += 4) {
        if (begins(bytes, brand, at)) return true;
    }
    return false;
}

bool has_any_brand(Bytes bytes, std::initializer_list<std::string_view> brands) {
    return std::any_of(brands.begin(), brands.end(),
                       [&](std::string_view brand) { return has_brand(bytes, brand); });
}

struct Kind {
    bool (*is)(Bytes);
    const char* name;
    Decoder decode = nullptr;
    const char* extension = nullptr;
};

constexpr std::array kinds = {
    Kind{[](Bytes b) { return begins(b, "\xFF\xD8\xFF"); }, "a JPEG", decode_jpeg, ".jpg"},
    Kind{[](Bytes b) { return begins(b, "\x89PNG\r\n\x1A\n"); }, "a PNG", decode_png, ".png"},
    Kind{[](Bytes b) { return begins(b, "RIFF") && begins(b, "WEBP", 8); }, "a WebP", decode_webp,
         ".webp"},
    Kind{[](Bytes b) {
             return has_any_brand(b, {"avif", "avis"});
         },
         avif_kind, decode_heif, ".avif"},
    Kind{[](Bytes b) {
             return has_any_brand(b, {"heic", "heix", "hevc", "hevx", "heim", "heis", "hevm",
                                      "hevs", "mif1", "msf1", "mif2"});
         },
         "a HEIC picture", decode_heif, ".heic"},
    Kind{[](Bytes b) { return begins(b, "GIF87a") || begins(b, "GIF89a"); }, "a GIF", decode_gif,
         ".gif"},
    // "BM" alone may begin a text: a header of a known length follows.
    Kind{[](Bytes b) {
             return begins(b, "BM") && b.size() > 18 && begins(b, {"\0\0\0", 3}, 15);
         },
         "a BMP picture", decode_bmp, ".bmp"},
    // What is often taken for a picture that can be read.
    Kind{[](Bytes b) { return has_brand(b, "crx "); }, "a raw picture of a camera (CR3)"},
    Kind{[](Bytes b) { return begins(b, "ftyp", 4); }, "a film"},
    Kind{[](Bytes b) {
             return begins(b, {"II*\0", 4}) || begins(b, {"MM\0*", 4});
         },
         "a TIFF or raw picture"},
    Kind{[](Bytes b) {
             return begins(b, {"II+\0", 4}) || begins(b, {"MM\0+", 4});
         },
         "a TIFF picture"},
    Kind{[](Bytes b) { return begins(b, "FUJIFILMCCD-RAW") || begins(b, "IIRO"); },
         "a raw picture of a camera"},
    Kind{[](Bytes b) { return begins(b, "\xFF\x0A") || begins(b, "JXL ", 4); },
         "a JPEG XL picture"},
    Kind{[](Bytes b) { return begins(b, "jP  ", 4) || begins(b, "\xFF\x4F\xFF\x51"); },
         "a JPEG 2000 picture"},
    Kind{[](Bytes b) {
             return begins(b, {"\0\0\1\0", 4});
         },
         "an icon (ICO)"},
    Kind{[](Bytes b) { return begins(b, "\x76\x2F\x31\x01"); }, "an OpenEXR picture"},
    Kind{[](Bytes b) { return begins(b, "8BPS"); }, "a Photoshop file"},
    Kind{[](Bytes b) { return begins(b, "gimp xcf"); }, "a GIMP file"},
    Kind{[](Bytes b) { return begins(b, "%PDF"); }, "a PDF"},
    Kind{[](Bytes b) { return begins(b, "PK\x03\x04"); }, "a ZIP archive"},
    Kind{[](Bytes b) { return begins(b, "version https://git-lfs"); },
         "the place of a picture that Git LFS has not fetched (`git lfs pull` does)"},
    Kind{[](Bytes b) { return begins(b, "<") || begins(b, "\xEF\xBB\xBF<"); },
         "a text page (HTML, XML or SVG)"},
};

const Kind* kind_of(Bytes bytes) {
    const auto found =
        std::find_if(kinds.begin(), kinds.end(), [&](const Kind& kind) { return kind.is(bytes); });
    return found != kinds.end() ? &*found : nullptr;
}

}  // namespace

std::string describe_start(Bytes bytes) {
    if (const Kind* kind = kind_of(bytes)) return kind->name;
    static const char* digits = "0123456789abcdef";
    std::string out = "a file that starts with";
    for (const std::byte byte : bytes.first(std::min<std::size_t>(bytes.size(), 8))) {
        const auto value = std::to_integer<unsigned>(byte);
        out += {' ', digits[value >> 4], digits[value & 15]};
    }
    return out;
}

std::string refusal_of_kind(Bytes bytes) {
    if (bytes.empty()) return "is empty";
    return "is not a picture that can be read but " + describe_start(bytes) +
           ". JPEG, PNG, WebP, HEIC, AVIF, GIF and BMP are read: save it as one of them";
}

Decoder decoder_of(Bytes bytes) {
    const Kind* kind = kind_of(bytes);
    return kind != nullptr ? kind->decode : nullptr;
}

const char* extension_of(Bytes bytes) {
    const Kind* kind = kind_of(bytes);
    return kind != nullptr ? kind->extension : nullptr;
}

}  // namespace zoodip
