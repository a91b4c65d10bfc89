#include <array>
#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <new>
#include <png.h>
#include <string>

#include "core/error.h"
#include "io/decoders.h"
#include "io/png_text.h"

namespace zoodip {
namespace {

// Where the reader is, and where the writer puts its bytes.
struct Stream {
    std::span<const std::byte> in;
    std::vector<std::byte> out;
    std::array<char, 128> message{};  // of libpng, ended by a zero
};

// libpng is C: no exception may pass through it, so nothing is allocated here.
void on_error(png_structp png, png_const_charp text) {
    auto& message = static_cast<Stream*>(png_get_error_ptr(png))->message;
    std::snprintf(message.data(), message.size(), "%s", text);
    png_longjmp(png, 1);
}

void on_warning(png_structp, png_const_charp) {}

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
        png_read_end(png, nullptr);
        return true;
    }
};

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

Picture decode_png(std::span<const std::byte> bytes) {
    Reader reader(bytes);
    require(reader.read_header(), "is a damaged PNG (", reader.stream.message.data(), ")");
    const png_uint_32 width = png_get_image_width(reader.png, reader.info);
    const png_uint_32 height = png_get_image_height(reader.png, reader.info);
    require_picture_size(width, height);
    require(reader.prepare() && png_get_rowbytes(reader.png, reader.info) == std::size_t{4} * width,
            "is a damaged PNG (", reader.stream.message.data(), ")");
    std::vector<std::uint8_t> rgba(std::size_t{4} * width * height);
    std::vector<png_bytep> rows(height);
    for (png_uint_32 y = 0; y < height; ++y) rows[y] = rgba.data() + std::size_t{4} * width * y;
    require(reader.read_pixels(rows.data()), "is a PNG that is damaged or cut off (",
            reader.stream.message.data(), ")");
    Picture picture = make_picture(static_cast<int>(width), static_cast<int>(height));
    for (std::size_t i = 0; i < rgba.size() / 4; ++i) {
        for (std::size_t c = 0; c < 3; ++c) {
            picture.rgb[3 * i + c] = over_white(rgba[4 * i + c], rgba[4 * i + 3]);
        }
    }
    return picture;
}

std::string png_text(std::span<const std::byte> bytes, const std::string& keyword) {
    Reader reader(bytes);
    if (!reader.read_header()) return {};
    png_textp texts = nullptr;
    const int count = png_get_text(reader.png, reader.info, &texts, nullptr);
    for (int i = 0; i < count; ++i) {
        if (texts[i].key == keyword) return texts[i].text;
    }
    return {};
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
