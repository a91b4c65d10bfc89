#include "io/picture.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "core/error.h"
#include "core/log.h"
#include "io/atomic_file.h"
#include "io/color_profile.h"
#include "io/decoders.h"
#include "io/exif.h"
#include "io/picture_kind.h"
#include "io/png_text.h"

namespace zoodip {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t max_file = 256u << 20;

DecodedPicture decode_any(std::span<const std::byte> bytes) {
    const Decoder decode = decoder_of(bytes);
    require(decode != nullptr, refusal_of_kind(bytes));
    return decode(bytes);
}

// As it looks on white paper. Of inks without a profile, red is what cyan and black leave.
Picture flatten(DecodedPicture decoded) {
    if (decoded.layout == Samples::rgb) {
        return {decoded.width, decoded.height, std::move(decoded.samples)};
    }
    const bool inks = decoded.layout == Samples::cmyk;
    Picture picture = make_picture(decoded.width, decoded.height);
    for (std::size_t i = 0; i < decoded.samples.size() / 4; ++i) {
        const std::uint8_t* from = &decoded.samples[4 * i];
        for (std::size_t c = 0; c < 3; ++c) {
            picture.rgb[3 * i + c] =
                inks ? without_inks(from[c], from[3]) : over_white(from[c], from[3]);
        }
    }
    return picture;
}

}  // namespace

void require_picture_size(std::uint64_t width, std::uint64_t height) {
    require(width >= 1 && height >= 1 && width <= max_picture_side && height <= max_picture_side &&
                width * height <= max_picture_pixels,
            "has ", width, " x ", height, " pixels; at most ", max_picture_pixels / 1'000'000,
            " megapixels and ", max_picture_side, " a side are read. Scale it down");
}

DecodedPicture make_decoded(std::uint64_t width, std::uint64_t height, Samples layout) {
    DecodedPicture picture;
    picture.width = static_cast<int>(width);
    picture.height = static_cast<int>(height);
    picture.layout = layout;
    picture.samples.resize((layout == Samples::rgb ? 3 : 4) * width * height);
    return picture;
}

void require_whole(bool whole, const char* kind, const char* detail) {
    require(whole, "is ", kind, " that is damaged or cut off",
            detail == nullptr ? std::string() : concat(" (", detail, ")"),
            ". Replace it or take it out");
}

Picture make_picture(int width, int height) {
    return {width, height,
            std::vector<std::uint8_t>(std::size_t{3} * static_cast<std::size_t>(width) *
                                      static_cast<std::size_t>(height))};
}

Picture decode_picture(std::span<const std::byte> bytes, const std::string& name) {
    try {
        DecodedPicture decoded = decode_any(bytes);
        const int orientation = decoded.orientation;
        convert_to_srgb(decoded);
        for (const std::string& note : decoded.notes) log_warning(name, ": ", note);
        return apply_orientation(flatten(std::move(decoded)), orientation);
    } catch (const Error& error) {
        fail(name, ": ", error.what());
    }
}

Picture read_picture(const fs::path& file) {
    return decode_picture(read_file(file, max_file), file.string());
}

Picture read_training_picture(const fs::path& file, const std::string& name) {
    return decode_training_picture(read_file(file, max_file), name);
}

Picture decode_training_picture(std::span<const std::byte> bytes, const std::string& name) {
    Picture picture = decode_picture(bytes, name);
    require(std::min(picture.width, picture.height) >= min_training_side, name, ": is ",
            picture.width, " x ", picture.height, " pixels; it needs ", min_training_side,
            " a side");
    return picture;
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

}  // namespace zoodip
