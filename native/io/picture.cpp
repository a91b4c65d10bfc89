#include "io/picture.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "core/ascii.h"
#include "core/error.h"
#include "io/atomic_file.h"
#include "io/decoders.h"
#include "io/picture_names.h"
#include "io/png_text.h"

namespace zoodip {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t max_pixels = 64'000'000, max_side = 32768;
constexpr std::uint64_t max_file = 256u << 20;

bool begins(std::span<const std::byte> bytes, std::string_view start, std::size_t at = 0) {
    return bytes.size() >= at + start.size() &&
           std::equal(start.begin(), start.end(), bytes.begin() + static_cast<std::ptrdiff_t>(at),
                      [](char a, std::byte b) { return std::byte(a) == b; });
}

struct Start {
    std::size_t at;
    const char* bytes;
    const char* kind;
};
// What is often taken for a picture that can be read.
constexpr std::array<Start, 12> other_kinds = {{{4, "ftyphei", "a HEIC picture"},
                                                {4, "ftypm", "a HEIF picture or a film"},
                                                {4, "ftypavif", "an AVIF picture"},
                                                {4, "ftyp", "a film"},
                                                {0, "GIF8", "a GIF"},
                                                {0, "BM", "a BMP picture"},
                                                {0, "II*", "a TIFF or raw picture"},
                                                {0, "MM", "a TIFF or raw picture"},
                                                {0, "8BPS", "a Photoshop file"},
                                                {0, "%PDF", "a PDF"},
                                                {0, "PK", "a ZIP archive"},
                                                {0, "<", "a text page (HTML, XML or SVG)"}}};

// "a GIF", or the first bytes in hexadecimal.
std::string describe_start(std::span<const std::byte> bytes) {
    for (const Start& start : other_kinds) {
        if (begins(bytes, start.bytes, start.at)) return start.kind;
    }
    static const char* digits = "0123456789abcdef";
    std::string out = "a file that starts with";
    for (const std::byte byte : bytes.first(std::min<std::size_t>(bytes.size(), 8))) {
        const auto value = std::to_integer<unsigned>(byte);
        out += {' ', digits[value >> 4], digits[value & 15]};
    }
    return out;
}

Picture decode_any(std::span<const std::byte> bytes) {
    if (begins(bytes, "\xFF\xD8\xFF")) return decode_jpeg(bytes);
    if (begins(bytes, "\x89PNG\r\n\x1A\n")) return decode_png(bytes);
    if (begins(bytes, "RIFF") && begins(bytes, "WEBP", 8)) return decode_webp(bytes);
    require(!bytes.empty(), "is empty");
    fail("is not a picture that can be read but ", describe_start(bytes),
         ". JPEG, PNG and WebP are read");
}

}  // namespace

void require_picture_size(std::uint64_t width, std::uint64_t height) {
    require(width >= 1 && height >= 1 && width <= max_side && height <= max_side &&
                width * height <= max_pixels,
            "has ", width, " x ", height, " pixels; at most ", max_pixels / 1'000'000,
            " megapixels and ", max_side, " a side are read. Scale it down");
}

Picture make_picture(int width, int height) {
    return {width, height,
            std::vector<std::uint8_t>(std::size_t{3} * static_cast<std::size_t>(width) *
                                      static_cast<std::size_t>(height))};
}

Picture decode_picture(std::span<const std::byte> bytes, const std::string& name) {
    try {
        return decode_any(bytes);
    } catch (const Error& error) {
        fail(name, ": ", error.what());
    }
}

Picture read_picture(const fs::path& file) {
    return decode_picture(read_file(file, max_file), file.string());
}

void write_png(const fs::path& file, const Picture& picture) {
    write_png(file, picture, {});
}

void write_png(const fs::path& file, const Picture& picture, const PngText& text) {
    const std::vector<std::byte> bytes = encode_png(picture, text);
    const std::span<const std::byte> part = bytes;
    write_file_atomic(file, {&part, 1});
}

std::string read_png_text(const fs::path& file, const std::string& keyword) {
    try {
        return png_text(read_file(file, max_file), keyword);
    } catch (const Error&) {
        return {};
    }
}

std::vector<fs::path> list_pictures(const fs::path& folder) {
    std::error_code error;
    require(fs::exists(folder, error), "images: there is no folder ", folder.string());
    require(fs::is_directory(folder, error), "images: ", folder.string(), " is not a folder");
    std::vector<fs::path> pictures;
    std::string other;
    fs::directory_iterator entry(folder, error);
    for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
        const fs::path& file = entry->path();
        std::error_code ignored;
        if (!entry->is_regular_file(ignored) || file.filename().string().front() == '.') continue;
        if (is_picture_name(file)) {
            pictures.push_back(file);
        } else if (other.empty() && lower_ascii(file.extension().string()) != ".txt") {
            other = file.filename().string();
        }
    }
    require(!error, "images: cannot list ", folder.string(), ": ", error.message());
    require(!pictures.empty(), "images: ", folder.string(), " holds no .jpg, .jpeg, .png or .webp",
            other.empty() ? std::string() : " (but " + other + ")",
            ". Put 4 to 6 pictures of the subject there");
    std::sort(pictures.begin(), pictures.end());
    return pictures;
}

}  // namespace zoodip
