// Texts in PNG files, by which a picture says where it comes from.
#pragma once

#include <filesystem>
#include <string>

#include "io/pixels.h"

namespace zoodip {

// Latin-1: a keyword of 1 to 79 letters and spaces, and what is said under it.
struct PngText {
    std::string keyword, text;
};

std::vector<std::byte> encode_png(const Picture& picture, const PngText& text);
void write_png(const std::filesystem::path& file, const Picture& picture,
               const PngText& text);  // atomically

// What a PNG says under a keyword in front of its pixels; empty for a file that does not, or is
// none.
std::string read_png_text(const std::filesystem::path& file, const std::string& keyword);

}  // namespace zoodip
