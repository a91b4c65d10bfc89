// PNG by libpng.
#include <cstring>
#include <new>
#include <png.h>
#include <vector>

#include "core/error.h"
#include "io/atomic_file.h"
#include "io/orientation.h"
#include "io/picture_codecs.h"

namespace zoodip {
namespace {

[[noreturn]] void leave(png_structp png, png_const_charp reason) {
    static_cast<Escape*>(png_get_error_ptr(png))->leave(reason);
}

// Damage is an error; warnings are of ancillary chunks, which are not used.
void ignore_warning(png_structp, png_const_charp) {}

struct Reader {
    std::span<const std::byte> rest;
    Escape escape;
    png_structp png = nullptr;
    png_infop info = nullptr;

    explicit Reader(std::span<const std::byte> bytes) : rest(bytes) {
        png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &escape, leave, ignore_warning);
        if (png != nullptr) info = png_create_info_struct(png);
        if (info == nullptr) {
            png_destroy_read_struct(&png, nullptr, nullptr);
            throw std::bad_alloc();
        }
    }
    ~Reader() { png_destroy_read_struct(&png, &info, nullptr); }
    Reader(const Reader&) = delete;
    Reader& operator=(const Reader&) = delete;
};

void take_bytes(png_structp png, png_bytep out, std::size_t size) {
    auto* reader = static_cast<Reader*>(png_get_io_ptr(png));
    if (size > reader->rest.size()) png_error(png, "it ends too early");
    std::memcpy(out, reader->rest.data(), size);
    reader->rest = reader->rest.subspan(size);
}

// Every kind of pixel becomes 8-bit RGB, or RGBA where there is transparency.
bool read_header(Reader& reader) {
    return run_guarded(reader.escape, [&] {
        auto* png = reader.png;
        png_set_read_fn(png, &reader, take_bytes);
        // The size is judged by require_picture_size, whose message names it.
        png_set_user_limits(png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
        png_read_info(png, reader.info);
    });
}

bool choose_pixels(Reader& reader) {
    return run_guarded(reader.escape, [&] {
        auto* png = reader.png;
        png_set_expand(png);
        png_set_scale_16(png);
        png_set_gray_to_rgb(png);
        png_set_interlace_handling(png);
        png_read_update_info(png, reader.info);
    });
}

bool read_pixels(Reader& reader, std::vector<png_bytep>& rows) {
    return run_guarded(reader.escape, [&] {
        png_read_image(reader.png, rows.data());
        png_read_end(reader.png, reader.info);
    });
}

int orientation_of(const Reader& reader) {
    png_bytep exif = nullptr;
    png_uint_32 size = 0;
    if (png_get_eXIf_1(reader.png, reader.info, &size, &exif) == 0) return 1;
    return exif_orientation(std::as_bytes(std::span(exif, size)));
}

struct Writer {
    std::vector<std::byte> bytes;
    Escape escape;
    png_structp png = nullptr;
    png_infop info = nullptr;

    Writer() {
        png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &escape, leave, ignore_warning);
        if (png != nullptr) info = png_create_info_struct(png);
        if (info == nullptr) {
            png_destroy_write_struct(&png, nullptr);
            throw std::bad_alloc();
        }
    }
    ~Writer() { png_destroy_write_struct(&png, &info); }
    Writer(const Writer&) = delete;
    Writer& operator=(const Writer&) = delete;
};

void append_bytes(png_structp png, png_bytep data, std::size_t size) {
    auto& bytes = static_cast<Writer*>(png_get_io_ptr(png))->bytes;
    bool stored = true;
    try {
        const auto added = std::as_bytes(std::span(data, size));
        bytes.insert(bytes.end(), added.begin(), added.end());
    } catch (const std::bad_alloc&) {
        stored = false;  // an exception must not pass through libpng
    }
    if (!stored) png_error(png, "out of memory");
}

}  // namespace

Picture decode_png(std::span<const std::byte> bytes, const std::string& name,
                   const PictureLimits& limits) {
    Reader reader(bytes);
    const auto require_whole = [&](bool ok) {
        require(ok, name, ": is a damaged or truncated PNG (", reader.escape.message.data(),
                "). Save or download it again");
    };
    require_whole(read_header(reader));
    const std::size_t width = png_get_image_width(reader.png, reader.info);
    const std::size_t height = png_get_image_height(reader.png, reader.info);
    require_picture_size(static_cast<std::int64_t>(width), static_cast<std::int64_t>(height), name,
                         limits);
    require_whole(choose_pixels(reader));
    const std::size_t channels = png_get_channels(reader.png, reader.info);
    std::vector<std::uint8_t> pixels(channels * width * height);
    std::vector<png_bytep> rows(height);
    for (std::size_t y = 0; y < height; ++y) rows[y] = pixels.data() + channels * width * y;
    require_whole(read_pixels(reader, rows));
    Picture picture{static_cast<int>(width), static_cast<int>(height), {}};
    if (channels == 4) {
        picture.rgb.resize(3 * width * height);
        blend_over_white(pixels, picture.rgb);
    } else {
        picture.rgb = std::move(pixels);
    }
    return upright(std::move(picture), orientation_of(reader));
}

std::vector<std::byte> encode_png(const Picture& picture) {
    const auto width = static_cast<std::size_t>(picture.width);
    const auto height = static_cast<std::size_t>(picture.height);
    require(picture.width > 0 && picture.height > 0 && picture.rgb.size() == 3 * width * height,
            "encode_png: a picture of ", picture.width, " x ", picture.height, " cannot have ",
            picture.rgb.size(), " bytes");
    Writer writer;
    const bool done = run_guarded(writer.escape, [&] {
        auto* png = writer.png;
        png_set_write_fn(png, &writer, append_bytes, nullptr);
        png_set_IHDR(png, writer.info, static_cast<png_uint_32>(width),
                     static_cast<png_uint_32>(height), 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
                     PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
        png_write_info(png, writer.info);
        for (std::size_t y = 0; y < height; ++y) {
            png_write_row(png, picture.rgb.data() + 3 * width * y);
        }
        png_write_end(png, writer.info);
    });
    require(done, "encode_png: ", writer.escape.message.data());
    return std::move(writer.bytes);
}

void write_png(const std::filesystem::path& file, const Picture& picture) {
    const std::vector<std::byte> bytes = encode_png(picture);
    const std::span<const std::byte> part = bytes;
    write_file_atomic(file, {&part, 1});
}

}  // namespace zoodip
