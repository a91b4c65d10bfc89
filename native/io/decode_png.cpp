#include <algorithm>
#include <array>
#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <new>
#include <optional>
#include <png.h>
#include <string>
#include <string_view>

#include "core/ascii.h"
#include "core/error.h"
#include "io/color_profile.h"
#include "io/decoders.h"
#include "io/exif.h"
#include "io/png_text.h"

namespace zoodip {
namespace {

// Where the reader is, and where the writer puts its bytes.
struct Stream {
    std::span<const std::byte> in;
    std::vector<std::byte> out;
    std::array<char, 128> message{};  // of libpng, ended by a zero
    bool profile_refused = false;
};

// libpng is C: no exception may pass through it, so nothing is allocated here.
void on_error(png_structp png, png_const_charp text) {
    auto& message = static_cast<Stream*>(png_get_error_ptr(png))->message;
    std::snprintf(message.data(), message.size(), "%s", text);
    png_longjmp(png, 1);
}

// libpng passes over chunks that it finds fault with. It warns of profiles of sRGB as well, which
// it keeps.
void on_warning(png_structp png, png_const_charp text) {
    const std::string_view warning(text);
    if (warning.starts_with("iCCP") && warning.find("sRGB") == std::string_view::npos) {
        static_cast<Stream*>(png_get_error_ptr(png))->profile_refused = true;
    }
}

void read_bytes(png_structp png, png_bytep out, std::size_t size) {
    auto* stream = static_cast<Stream*>(png_get_io_ptr(png));
    if (stream->in.size() < size) png_error(png, "cut off");
    std::memcpy(out, stream->in.data(), size);
    stream->in = stream->in.subspan(size);
}

bool append(std::vector<std::byte>& out, const std::byte* from, std::size_t size) noexcept {
    try {
        out.insert(out.end(), from, from + size);
        return true;
    } catch (const std::bad_alloc&) {
        return false;
    }
}

void write_bytes(png_structp png, png_bytep bytes, std::size_t size) {
    auto* stream = static_cast<Stream*>(png_get_io_ptr(png));
    const auto* from = reinterpret_cast<const std::byte*>(bytes);
    if (!append(stream->out, from, size)) png_error(png, "out of memory");
}

// Nothing with a destructor is created between setjmp and the calls that may jump.
struct Reader {
    Stream stream;
    png_structp png = nullptr;
    png_infop info = nullptr;

    explicit Reader(std::span<const std::byte> bytes) : stream{bytes, {}} {
        png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &stream, on_error, on_warning);
        require(png != nullptr && (info = png_create_info_struct(png)) != nullptr,
                "libpng has no memory");
        png_set_read_fn(png, &stream, read_bytes);
        png_set_user_limits(png, 0x7FFFFFFF, 0x7FFFFFFF);  // ours are checked after the header
        // libpng drops EXIF that begins as in a JPEG, which ImageMagick wrote.
        static constexpr std::array<png_byte, 10> kept = {'e', 'X', 'I', 'f', 0,
                                                          'a', 'c', 'T', 'L', 0};
        png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_ALWAYS, kept.data(), 2);
    }
    ~Reader() { png_destroy_read_struct(&png, &info, nullptr); }
    Reader(const Reader&) = delete;
    Reader& operator=(const Reader&) = delete;

    bool read_header() {
        if (setjmp(png_jmpbuf(png)) != 0) return false;
        png_read_info(png, info);
        return true;
    }

    // 8-bit RGBA, whatever the file holds.
    bool prepare() {
        if (setjmp(png_jmpbuf(png)) != 0) return false;
        png_set_expand(png);
        png_set_scale_16(png);
        png_set_gray_to_rgb(png);
        png_set_add_alpha(png, 0xFF, PNG_FILLER_AFTER);
        png_set_interlace_handling(png);
        png_read_update_info(png, info);
        return true;
    }

    bool read_pixels(png_bytepp rows) {
        if (setjmp(png_jmpbuf(png)) != 0) return false;
        png_read_image(png, rows);
        png_read_end(png, info);
        return true;
    }

    // The rest may be asked for after read_pixels: metadata may stand behind the pixels.

    std::vector<std::byte> profile() const {
        png_charp name = nullptr;
        png_bytep bytes = nullptr;
        png_uint_32 size = 0;
        int method = 0;
        if (png_get_iCCP(png, info, &name, &method, &bytes, &size) == 0) return {};
        const auto view = std::as_bytes(std::span(bytes, size));
        return {view.begin(), view.end()};
    }

    std::optional<std::span<const std::byte>> chunk(const char* type) const {
        png_unknown_chunkp chunks = nullptr;
        const int count = png_get_unknown_chunks(png, info, &chunks);
        for (int i = 0; i < count; ++i) {
            if (std::memcmp(chunks[i].name, type, 4) == 0) {
                return std::as_bytes(std::span(chunks[i].data, chunks[i].size));
            }
        }
        return std::nullopt;
    }

    std::string_view text(std::string_view key) const {
        png_textp texts = nullptr;
        const int count = png_get_text(png, info, &texts, nullptr);
        for (int i = 0; i < count; ++i) {
            if (key != texts[i].key || texts[i].text == nullptr) continue;
            return {texts[i].text, std::max(texts[i].text_length, texts[i].itxt_length)};
        }
        return {};
    }
};

// The EXIF of programs that had no chunk for it: a line break, "exif", the number of bytes, and the
// bytes in hexadecimal, a line each.
std::vector<std::byte> exif_of_text(std::string_view text) {
    for (int line = 0; line < 3; ++line) {
        const std::size_t end = text.find('\n');
        if (end == std::string_view::npos) return {};
        text.remove_prefix(end + 1);
    }
    std::vector<std::byte> bytes;
    unsigned value = 1;  // a 1 and the digits so far
    for (const char c : lower_ascii(text)) {
        const std::size_t digit = std::string_view("0123456789abcdef").find(c);
        if (digit == std::string_view::npos) continue;
        value = value << 4 | static_cast<unsigned>(digit);
        if (value < 0x100) continue;
        bytes.push_back(static_cast<std::byte>(value & 0xFF));
        value = 1;
    }
    return bytes;
}

int read_orientation(const Reader& reader) {
    const std::string_view xmp = reader.text("XML:com.adobe.xmp");
    if (const auto exif = reader.chunk("eXIf")) return orientation_of(*exif, xmp);
    return orientation_of(exif_of_text(reader.text("Raw profile type exif")), xmp);
}

// A film holds its number of pictures.
bool is_animated(const Reader& reader) {
    const auto control = reader.chunk("acTL");
    if (!control || control->size() < 4) return false;
    unsigned pictures = 0;
    for (const std::byte byte : control->first(4)) {
        pictures = pictures << 8 | std::to_integer<unsigned>(byte);
    }
    return pictures > 1;
}

struct Writer {
    Stream stream;
    png_structp png = nullptr;
    png_infop info = nullptr;

    Writer() {
        png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &stream, on_error, on_warning);
        require(png != nullptr && (info = png_create_info_struct(png)) != nullptr,
                "libpng has no memory");
        png_set_write_fn(png, &stream, write_bytes, nullptr);
    }
    ~Writer() { png_destroy_write_struct(&png, &info); }
    Writer(const Writer&) = delete;
    Writer& operator=(const Writer&) = delete;

    bool write(const Picture& picture, png_bytepp rows, png_const_textp text) {
        if (setjmp(png_jmpbuf(png)) != 0) return false;
        if (text != nullptr) png_set_text(png, info, text, 1);
        png_set_IHDR(png, info, static_cast<png_uint_32>(picture.width),
                     static_cast<png_uint_32>(picture.height), 8, PNG_COLOR_TYPE_RGB,
                     PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
        png_write_info(png, info);
        png_write_image(png, rows);
        png_write_end(png, nullptr);
        return true;
    }
};

}  // namespace

DecodedPicture decode_png(std::span<const std::byte> bytes) {
    Reader reader(bytes);
    require_whole(reader.read_header(), "a PNG", reader.stream.message.data());
    const png_uint_32 width = png_get_image_width(reader.png, reader.info);
    const png_uint_32 height = png_get_image_height(reader.png, reader.info);
    const bool grey = (png_get_color_type(reader.png, reader.info) & PNG_COLOR_MASK_COLOR) == 0;
    require_picture_size(width, height);
    require_whole(
        reader.prepare() && png_get_rowbytes(reader.png, reader.info) == std::size_t{4} * width,
        "a PNG", reader.stream.message.data());
    DecodedPicture picture = make_decoded(width, height, Samples::rgba);
    picture.grey = grey;
    std::vector<png_bytep> rows(height);
    for (png_uint_32 y = 0; y < height; ++y) {
        rows[y] = picture.samples.data() + std::size_t{4} * width * y;
    }
    require_whole(reader.read_pixels(rows.data()), "a PNG", reader.stream.message.data());
    picture.icc = reader.profile();
    picture.orientation = read_orientation(reader);
    if (reader.stream.profile_refused) picture.notes.emplace_back(damaged_profile);
    if (is_animated(reader)) picture.notes.emplace_back(first_of_animation);
    return picture;
}

std::string png_text(std::span<const std::byte> bytes, const std::string& keyword) {
    Reader reader(bytes);
    return reader.read_header() ? std::string(reader.text(keyword)) : std::string();
}

std::vector<std::byte> encode_png(const Picture& picture) {
    return encode_png(picture, {});
}

std::vector<std::byte> encode_png(const Picture& picture, const PngText& text) {
    require(picture.width > 0 && picture.height > 0 &&
                picture.rgb.size() == std::size_t{3} * static_cast<std::size_t>(picture.width) *
                                          static_cast<std::size_t>(picture.height),
            "encode_png: needs width x height x 3 bytes, got ", picture.width, " x ",
            picture.height, " and ", picture.rgb.size(), " bytes");
    Writer writer;
    std::vector<png_bytep> rows(static_cast<std::size_t>(picture.height));
    for (std::size_t y = 0; y < rows.size(); ++y) {
        // libpng's interface is not const, but it only reads.
        rows[y] = const_cast<png_bytep>(picture.rgb.data()) +
                  std::size_t{3} * static_cast<std::size_t>(picture.width) * y;
    }
    png_text_struct entry{};  // not const either
    entry.compression = PNG_TEXT_COMPRESSION_NONE;
    entry.key = const_cast<png_charp>(text.keyword.c_str());
    entry.text = const_cast<png_charp>(text.text.c_str());
    entry.text_length = text.text.size();
    require(writer.write(picture, rows.data(), text.keyword.empty() ? nullptr : &entry),
            "encode_png: ", writer.stream.message.data());
    return std::move(writer.stream.out);
}

}  // namespace zoodip
