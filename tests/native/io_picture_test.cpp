#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <jpeglib.h>
#include <png.h>
#include <random>
#include <string>
#include <unistd.h>
#include <vector>
#include <webp/encode.h>

#include <gtest/gtest.h>

#include "core/error.h"
#include "io/picture.h"

namespace zoodip {
namespace {

namespace fs = std::filesystem;
using Bytes = std::vector<std::byte>;

Bytes to_bytes(const std::string& text) {
    const auto view = std::as_bytes(std::span(text));
    return {view.begin(), view.end()};
}

// Why a picture is refused, or "accepted".
std::string refusal(std::span<const std::byte> bytes) {
    try {
        decode_picture(bytes, "a.png");
    } catch (const Error& error) {
        return error.what();
    }
    return "accepted";
}

void expect_refusal(std::span<const std::byte> bytes, const std::string& part) {
    const std::string text = refusal(bytes);
    EXPECT_EQ(text.rfind("a.png: ", 0), 0u) << text;
    EXPECT_NE(text.find(part), std::string::npos) << text;
}

// Every pixel different.
Picture numbered(int width, int height) {
    Picture picture{width, height, {}};
    for (int i = 0; i < width * height; ++i) {
        for (const int value : {3 * i, 255 - 2 * i, 7 * i}) {
            picture.rgb.push_back(static_cast<std::uint8_t>(value));
        }
    }
    return picture;
}

// --- encoders: what the library only reads ----------------------------------------------------

struct PngOptions {
    int color = PNG_COLOR_TYPE_RGB, depth = 8, interlace = PNG_INTERLACE_NONE;
    std::vector<png_color> palette = {};
    std::vector<png_byte> palette_alpha = {};
};

// `rows` holds the samples as PNG stores them.
Bytes make_png(int width, int height, std::vector<png_byte> samples, const PngOptions& options) {
    Bytes out;
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, nullptr, nullptr);
    png_infop info = png_create_info_struct(png);
    const auto append = [](png_structp self, png_bytep data, std::size_t size) {
        auto* bytes = static_cast<Bytes*>(png_get_io_ptr(self));
        const auto added = std::as_bytes(std::span(data, size));
        bytes->insert(bytes->end(), added.begin(), added.end());
    };
    png_set_write_fn(png, &out, append, nullptr);
    png_set_IHDR(png, info, static_cast<png_uint_32>(width), static_cast<png_uint_32>(height),
                 options.depth, options.color, options.interlace, PNG_COMPRESSION_TYPE_DEFAULT,
                 PNG_FILTER_TYPE_DEFAULT);
    if (!options.palette.empty()) {
        png_set_PLTE(png, info, options.palette.data(), static_cast<int>(options.palette.size()));
    }
    if (!options.palette_alpha.empty()) {
        png_set_tRNS(png, info, options.palette_alpha.data(),
                     static_cast<int>(options.palette_alpha.size()), nullptr);
    }
    png_write_info(png, info);
    if (!samples.empty()) {
        std::vector<png_bytep> rows;
        for (int y = 0; y < height; ++y) {
            rows.push_back(samples.data() + samples.size() / height * static_cast<std::size_t>(y));
        }
        png_write_image(png, rows.data());
        png_write_end(png, info);
    } else {
        png_write_chunk(png, reinterpret_cast<png_const_bytep>("IDAT"),
                        reinterpret_cast<png_const_bytep>("\x78\x9C"), 2);
    }
    png_destroy_write_struct(&png, &info);
    return out;
}

struct JpegOptions {
    J_COLOR_SPACE space = JCS_RGB;
    bool progressive = false;
    std::string exif = {};  // the body of an APP1 segment
};

Bytes make_jpeg(int width, int height, const std::vector<std::uint8_t>& samples,
                const JpegOptions& options = {}) {
    jpeg_compress_struct info{};
    jpeg_error_mgr errors{};
    info.err = jpeg_std_error(&errors);
    jpeg_create_compress(&info);
    unsigned char* memory = nullptr;
    unsigned long size = 0;
    jpeg_mem_dest(&info, &memory, &size);
    info.image_width = static_cast<JDIMENSION>(width);
    info.image_height = static_cast<JDIMENSION>(height);
    info.input_components = static_cast<int>(samples.size()) / (width * height);
    info.in_color_space = options.space;
    jpeg_set_defaults(&info);
    jpeg_set_quality(&info, 95, TRUE);
    if (options.progressive) jpeg_simple_progression(&info);
    jpeg_start_compress(&info, TRUE);
    if (!options.exif.empty()) {
        jpeg_write_marker(&info, JPEG_APP0 + 1,
                          reinterpret_cast<const JOCTET*>(options.exif.data()),
                          static_cast<unsigned>(options.exif.size()));
    }
    while (info.next_scanline < info.image_height) {
        auto* row = const_cast<JSAMPROW>(samples.data() +
                                         info.next_scanline * samples.size() / info.image_height);
        jpeg_write_scanlines(&info, &row, 1);
    }
    jpeg_finish_compress(&info);
    const auto view = std::as_bytes(std::span(memory, size));
    Bytes out(view.begin(), view.end());
    std::free(memory);
    jpeg_destroy_compress(&info);
    return out;
}

Bytes make_webp(int width, int height, const std::vector<std::uint8_t>& rgba) {
    std::uint8_t* memory = nullptr;
    const std::size_t size = WebPEncodeLosslessRGBA(rgba.data(), width, height, 4 * width, &memory);
    const auto view = std::as_bytes(std::span(memory, size));
    Bytes out(view.begin(), view.end());
    WebPFree(memory);
    return out;
}

// An EXIF body with one entry, big endian.
std::string make_exif(int orientation) {
    std::string exif("Exif\0\0MM\0\x2A\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\0\0\0\0\0\0\0",
                     32);
    exif[25] = static_cast<char>(orientation);
    return exif;
}

// --- decoding ---------------------------------------------------------------------------------

TEST(DecodePicture, ReadsBackItsOwnPng) {
    for (const auto& [width, height] : {std::pair{1, 1}, {7, 5}, {64, 3}}) {
        const Picture picture = numbered(width, height);
        const Bytes bytes = encode_png(picture);
        const Picture back = decode_picture(bytes, "a.png");
        EXPECT_EQ(back.width, width);
        EXPECT_EQ(back.height, height);
        EXPECT_EQ(back.rgb, picture.rgb);
        EXPECT_EQ(encode_png(picture), bytes);
    }
}

TEST(DecodePicture, ReadsEveryKindOfPng) {
    using Rgb = std::vector<std::uint8_t>;
    const auto rgb_of = [](const Bytes& bytes) { return decode_picture(bytes, "a.png").rgb; };
    EXPECT_EQ(rgb_of(make_png(2, 1, {10, 200}, {.color = PNG_COLOR_TYPE_GRAY})),
              (Rgb{10, 10, 10, 200, 200, 200}));
    EXPECT_EQ(rgb_of(make_png(3, 1, {0b10100000}, {.color = PNG_COLOR_TYPE_GRAY, .depth = 1})),
              (Rgb{255, 255, 255, 0, 0, 0, 255, 255, 255}));
    EXPECT_EQ(
        rgb_of(make_png(
            2, 1, {0x10},
            {.color = PNG_COLOR_TYPE_PALETTE, .depth = 4, .palette = {{1, 2, 3}, {4, 5, 6}}})),
        (Rgb{4, 5, 6, 1, 2, 3}));
    // Half of 4, 5, 6 over white: (4 * 128 + 255 * 127) / 255 = 129.0; 129.5; 130.0.
    EXPECT_EQ(rgb_of(make_png(2, 1, {0x10},
                              {.color = PNG_COLOR_TYPE_PALETTE,
                               .depth = 4,
                               .palette = {{1, 2, 3}, {4, 5, 6}},
                               .palette_alpha = {0, 128}})),
              (Rgb{129, 130, 130, 255, 255, 255}));
    // 16 bits: 0x80FF / 257 = 128.49, 0xFFFF / 257 = 255.
    EXPECT_EQ(rgb_of(make_png(1, 1, {0x80, 0xFF, 0xFF, 0xFF, 0, 0}, {.depth = 16})),
              (Rgb{128, 255, 0}));
    EXPECT_EQ(rgb_of(make_png(1, 2, {9, 0, 8, 255}, {.color = PNG_COLOR_TYPE_GRAY_ALPHA})),
              (Rgb{255, 255, 255, 8, 8, 8}));
    const Picture picture = numbered(13, 11);
    EXPECT_EQ(rgb_of(make_png(13, 11, picture.rgb, {.interlace = PNG_INTERLACE_ADAM7})),
              picture.rgb);
}

TEST(DecodePicture, ReadsWebpOverWhite) {
    const Picture picture = decode_picture(
        make_webp(2, 2, {1, 2, 3, 255, 4, 5, 6, 255, 7, 8, 9, 255, 10, 11, 12, 0}), "a.webp");
    EXPECT_EQ(picture.rgb, (std::vector<std::uint8_t>{1, 2, 3, 4, 5, 6, 7, 8, 9, 255, 255, 255}));
}

// One colour survives JPEG but for the rounding of its coefficient and of YCbCr: quality 95 steps
// the mean by 2 / 8 of a level, the conversions round each channel by at most 1 + 1.
constexpr int jpeg_tolerance = 3;

TEST(DecodePicture, ReadsGreyColourAndProgressiveJpeg) {
    std::vector<std::uint8_t> red;
    for (int i = 0; i < 16 * 24; ++i) red.insert(red.end(), {200, 30, 60});
    for (const bool progressive : {false, true}) {
        const Picture picture =
            decode_picture(make_jpeg(16, 24, red, {.progressive = progressive}), "a.jpg");
        ASSERT_EQ(picture.rgb.size(), red.size());
        for (std::size_t i = 0; i < red.size(); ++i) {
            ASSERT_NEAR(picture.rgb[i], red[i], jpeg_tolerance);
        }
    }
    const std::vector<std::uint8_t> grey(16 * 24, 77);
    const Picture picture = decode_picture(make_jpeg(16, 24, grey, {JCS_GRAYSCALE}), "a.jpg");
    ASSERT_EQ(picture.rgb.size(), 3 * grey.size());
    for (const int value : picture.rgb) ASSERT_NEAR(value, 77, jpeg_tolerance);
}

// Editors store inks inverted: 255 is none. Without a profile, red is what cyan and black leave:
// 255 * 205/255 * 235/255 = 188.9 for 50 of cyan and 20 of black.
TEST(DecodePicture, ReadsInks) {
    std::vector<std::uint8_t> inks;
    for (int i = 0; i < 16 * 16; ++i) inks.insert(inks.end(), {205, 255, 155, 235});
    const Picture picture = decode_picture(make_jpeg(16, 16, inks, {JCS_CMYK}), "a.jpg");
    ASSERT_EQ(picture.rgb.size(), std::size_t{3} * 16 * 16);
    const std::array<int, 3> expected = {189, 235, 143};
    for (std::size_t i = 0; i < picture.rgb.size(); ++i) {
        ASSERT_NEAR(picture.rgb[i], expected[i % 3], jpeg_tolerance) << i;
    }
}

// A picture with one dark quarter: where it lies says which way up the picture is.
TEST(DecodePicture, AppliesExifOrientation) {
    std::vector<std::uint8_t> samples(32 * 16, 255);  // dark: the left half of the top half
    for (int y = 0; y < 8; ++y) std::fill_n(samples.begin() + y * 32, 16, std::uint8_t{0});
    struct Corner {
        bool right, bottom;
    };
    const std::array<Corner, 9> corners = {{{false, false},  // 0 is no orientation
                                            {false, false},
                                            {true, false},
                                            {true, true},
                                            {false, true},
                                            {false, false},
                                            {true, false},
                                            {true, true},
                                            {false, true}}};
    for (int orientation = 0; orientation <= 8; ++orientation) {
        const Picture picture = decode_picture(
            make_jpeg(32, 16, samples, {JCS_GRAYSCALE, false, make_exif(orientation)}), "a.jpg");
        ASSERT_EQ(picture.width, orientation >= 5 ? 16 : 32) << orientation;
        ASSERT_EQ(picture.height, orientation >= 5 ? 32 : 16) << orientation;
        for (const bool bottom : {false, true}) {
            for (const bool right : {false, true}) {
                const int x = picture.width * (right ? 3 : 1) / 4;
                const int y = picture.height * (bottom ? 3 : 1) / 4;
                const bool dark =
                    picture.rgb[3 * static_cast<std::size_t>(y * picture.width + x)] < 128;
                const Corner corner = corners[static_cast<std::size_t>(orientation)];
                EXPECT_EQ(dark, right == corner.right && bottom == corner.bottom) << orientation;
            }
        }
    }
}

TEST(DecodePicture, LooksPastOtherMetadataForTheOrientation) {
    const std::vector<std::uint8_t> grey(32 * 16, 77);
    Bytes bytes = make_jpeg(32, 16, grey, {JCS_GRAYSCALE, false, make_exif(6)});
    const std::string xmp = "http://ns.adobe.com/xap/1.0/";  // 28 letters and a zero
    std::string segment("\xFF\xE1\0\x1F", 4);
    const Bytes before = to_bytes(segment + xmp + std::string(1, '\0'));
    bytes.insert(bytes.begin() + 2, before.begin(), before.end());
    EXPECT_EQ(decode_picture(bytes, "a.jpg").width, 16);
}

TEST(DecodePicture, ToleratesMalformedExif) {
    const std::vector<std::uint8_t> grey(8 * 8, 77);
    const std::string whole = make_exif(6);
    std::mt19937 random(2);
    for (std::size_t length = 1; length <= whole.size(); ++length) {
        EXPECT_EQ(refusal(make_jpeg(8, 8, grey, {JCS_GRAYSCALE, false, whole.substr(0, length)})),
                  "accepted");
    }
    for (int round = 0; round < 300; ++round) {
        std::string damaged = whole;
        for (int i = 0; i < 3; ++i) damaged[random() % whole.size()] = static_cast<char>(random());
        EXPECT_EQ(refusal(make_jpeg(8, 8, grey, {JCS_GRAYSCALE, false, damaged})), "accepted");
    }
}

// A directory with the orientation alone, in either order of bytes and as a number of 2 or 4.
TEST(DecodePicture, ReadsEveryFormOfTheOrientation) {
    const std::vector<std::uint8_t> grey(32 * 16, 77);
    const auto width = [&](const std::string& exif) {
        return decode_picture(make_jpeg(32, 16, grey, {JCS_GRAYSCALE, false, exif}), "a.jpg").width;
    };
    const std::string big("Exif\0\0MM\0\x2A\0\0\0\x08\0\x01\x01\x12", 18);
    const std::string little("Exif\0\0II\x2A\0\x08\0\0\0\x01\0\x12\x01", 18);
    const auto entry = [](const std::string& start, const std::string& rest) {
        return start + rest + std::string(4, '\0');
    };
    EXPECT_EQ(width(entry(big, {"\0\x03\0\0\0\x01\0\x06\0\0", 10})), 16);
    EXPECT_EQ(width(entry(big, {"\0\x04\0\0\0\x01\0\0\0\x06", 10})), 16);
    EXPECT_EQ(width(entry(little, {"\x03\0\x01\0\0\0\x06\0\0\0", 10})), 16);
    EXPECT_EQ(width(entry(little, {"\x04\0\x01\0\0\0\x06\0\0\0", 10})), 16);
    // A byte, a fraction, two numbers, and one that is none of the eight.
    EXPECT_EQ(width(entry(little, {"\x01\0\x01\0\0\0\x06\0\0\0", 10})), 32);
    EXPECT_EQ(width(entry(little, {"\x05\0\x01\0\0\0\x06\0\0\0", 10})), 32);
    EXPECT_EQ(width(entry(little, {"\x03\0\x02\0\0\0\x06\0\x06\0", 10})), 32);
    EXPECT_EQ(width(entry(little, {"\x04\0\x01\0\0\0\x06\0\x01\0", 10})), 32);
}

// --- refusals ---------------------------------------------------------------------------------

// The files end after their header: a decoder that took memory first would find them damaged.
TEST(DecodePicture, RefusesHugeSizesByTheHeader) {
    expect_refusal(make_png(60000, 60000, {}, {}), "60000 x 60000 pixels");
    expect_refusal(make_png(32769, 1, {}, {}), "32769 x 1 pixels");
    expect_refusal(make_png(8001, 8000, {}, {}), "8001 x 8000 pixels");
    EXPECT_EQ(refusal(make_png(8000, 8000, {}, {})).find("megapixels"), std::string::npos);
    Bytes jpeg = make_jpeg(8, 8, std::vector<std::uint8_t>(64, 1), {JCS_GRAYSCALE});
    for (std::size_t i = 0; i + 8 < jpeg.size(); ++i) {
        if (jpeg[i] == std::byte{0xFF} && jpeg[i + 1] == std::byte{0xC0}) {
            for (std::size_t j = 5; j < 9; ++j) jpeg[i + j] = std::byte{0xF0};
        }
    }
    expect_refusal(jpeg, "61680 x 61680 pixels");
}

TEST(DecodePicture, NamesWhatIsNoPicture) {
    expect_refusal({}, "is empty");
    struct Start {
        std::string bytes, kind;
    };
    const std::vector<Start> starts = {{"<html>", "a text page"},
                                       {"%PDF-1.7", "a PDF"},
                                       {{"II*\0", 4}, "a TIFF"},
                                       {{"MM\0*", 4}, "a TIFF"},
                                       {{"\0\0\0\x18"
                                         "ftypcrx ",
                                         12},
                                        "a raw picture"},
                                       {{"\0\0\0\x18"
                                         "ftypisom",
                                         12},
                                        "a film"},
                                       {"\xFF\x0A", "a JPEG XL"},
                                       {"8BPS", "a Photoshop file"},
                                       {"version https://git-lfs", "git lfs pull"},
                                       {"\x01\xAB", "starts with 01 ab"},
                                       {"BMW and other cars: ", "starts with 42 4d 57"},
                                       {"RIFF....WAVE", "starts with 52"},
                                       {"\xFF\xD8", "starts with ff d8"}};
    for (const auto& [bytes, kind] : starts) {
        expect_refusal(to_bytes(bytes + std::string(40, 'x')), kind);
        expect_refusal(to_bytes(bytes + std::string(40, 'x')), "HEIC, AVIF, GIF and BMP are read");
    }
}

// What is known for a picture that is read, and is none behind its first bytes.
TEST(DecodePicture, NamesWhatIsDamaged) {
    expect_refusal(to_bytes("GIF89a" + std::string(40, 'x')), "a GIF");
    expect_refusal(to_bytes(std::string("\0\0\0\x18"
                                        "ftypheic\0\0\0\0mif1heic",
                                        24)),
                   "a HEIC picture");
    expect_refusal(to_bytes(std::string("\0\0\0\x18"
                                        "ftypmif1\0\0\0\0mif1avif",
                                        24)),
                   "an AVIF picture");
    expect_refusal(to_bytes("BM" + std::string(12, '\0') + "\x28" + std::string(40, '\0')),
                   "a BMP");
}

TEST(DecodePicture, RefusesAnAnimatedWebpWithoutAFrame) {
    // RIFF header, then VP8X with the animation flag (0x02) and a canvas of 1 x 1.
    const std::string file("RIFF\x16\0\0\0WEBPVP8X\x0A\0\0\0\x02\0\0\0\0\0\0\0\0\0", 30);
    expect_refusal(to_bytes(file), "damaged or cut off");
}

// A progressive JPEG whose first scan, of the DC coefficients, is there `scans` times and alone.
Bytes make_repeated_scan(std::ptrdiff_t scans) {
    const Bytes whole =
        make_jpeg(8, 8, std::vector<std::uint8_t>(64, 9), {JCS_GRAYSCALE, /*progressive=*/true});
    const auto marker = [&](auto from, auto is_wanted) {
        return std::adjacent_find(from, whole.end(), [&](std::byte a, std::byte b) {
            return a == std::byte{0xFF} && is_wanted(b);
        });
    };
    const auto begin = marker(whole.begin(), [](std::byte b) { return b == std::byte{0xDA}; });
    const auto end = marker(begin + 2, [](std::byte b) { return b != std::byte{0}; });
    Bytes scan(begin, end), out(whole.begin(), begin);
    scan[9] = std::byte{0};  // all bits at once, instead of all but the last
    for (; scans > 0; --scans) out.insert(out.end(), scan.begin(), scan.end());
    out.insert(out.end(), {std::byte{0xFF}, std::byte{0xD9}});
    return out;
}

TEST(DecodePicture, RefusesAJpegOfEndlessScans) {
    EXPECT_EQ(refusal(make_repeated_scan(100)), "accepted");
    expect_refusal(make_repeated_scan(101), "more than 100 scans");
}

// --- damage -----------------------------------------------------------------------------------

// Small files of every format.
std::vector<std::pair<std::string, Bytes>> samples() {
    const Picture picture = numbered(19, 17);
    std::vector<std::uint8_t> rgba;
    for (std::size_t i = 0; i < picture.rgb.size(); i += 3) {
        rgba.insert(rgba.end(), {picture.rgb[i], picture.rgb[i + 1], picture.rgb[i + 2],
                                 static_cast<std::uint8_t>(i)});
    }
    std::uint8_t* memory = nullptr;
    const std::size_t size = WebPEncodeRGB(picture.rgb.data(), 19, 17, 57, 80, &memory);
    const auto lossy = std::as_bytes(std::span(memory, size));
    std::vector<std::pair<std::string, Bytes>> out = {
        {"png", encode_png(picture)},
        {"interlaced png",
         make_png(19, 17, rgba,
                  {.color = PNG_COLOR_TYPE_RGB_ALPHA, .interlace = PNG_INTERLACE_ADAM7})},
        {"jpeg", make_jpeg(19, 17, picture.rgb, {JCS_RGB, false, make_exif(5)})},
        {"progressive jpeg", make_jpeg(19, 17, picture.rgb, {JCS_RGB, true, make_exif(8)})},
        {"lossless webp", make_webp(19, 17, rgba)},
        {"lossy webp", Bytes(lossy.begin(), lossy.end())}};
    WebPFree(memory);
    return out;
}

TEST(DecodePicture, RefusesEveryTruncation) {
    for (const auto& [kind, bytes] : samples()) {
        ASSERT_EQ(refusal(bytes), "accepted") << kind;
        // A WebP whose only missing byte is padding, or whose last bits carry nothing, is whole.
        const std::size_t spare = kind.find("webp") == std::string::npos ? 0 : 8;
        for (std::size_t length = 0; length < bytes.size(); ++length) {
            const std::string text = refusal(std::span(bytes).first(length));
            if (length + spare < bytes.size()) {
                EXPECT_NE(text, "accepted") << kind << " cut to " << length;
            }
        }
    }
}

TEST(DecodePicture, DamageIsDecodedOrRefused) {
    std::mt19937 random(3);
    for (const auto& [kind, bytes] : samples()) {
        for (int round = 0; round < 1500; ++round) {
            Bytes damaged = bytes;
            for (unsigned flips = 1 + random() % 4; flips > 0; --flips) {
                damaged[random() % damaged.size()] ^= static_cast<std::byte>(1u << random() % 8);
            }
            try {
                const Picture picture = decode_picture(damaged, kind);
                ASSERT_EQ(picture.rgb.size(), std::size_t{3} *
                                                  static_cast<std::size_t>(picture.width) *
                                                  static_cast<std::size_t>(picture.height));
            } catch (const Error&) {
            }
        }
    }
}

// --- files ------------------------------------------------------------------------------------

class PictureFolder : public testing::Test {
  protected:
    void SetUp() override {
        folder_ = fs::temp_directory_path() / ("zoodip_pictures_" + std::to_string(getpid()));
        fs::create_directories(folder_);
    }
    void TearDown() override { fs::remove_all(folder_); }

    fs::path folder_;
};

TEST_F(PictureFolder, WritesPngWholeOrNotAtAll) {
    const Picture picture = numbered(5, 4);
    write_png(folder_ / "a.png", picture);
    EXPECT_EQ(read_picture(folder_ / "a.png").rgb, picture.rgb);
    EXPECT_THROW(write_png(folder_ / "a.png", {5, 4, {}}), Error);
    EXPECT_THROW(write_png(folder_ / "missing" / "a.png", picture), Error);
    EXPECT_EQ(read_picture(folder_ / "a.png").rgb, picture.rgb);
    EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 1);
    EXPECT_THROW(read_picture(folder_ / "b.png"), Error);
    EXPECT_THROW(read_picture(folder_), Error);
}

}  // namespace
}  // namespace zoodip
