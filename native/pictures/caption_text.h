// The text of a caption, from the bytes of its file.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace zoodip {

// UTF-8 text without its byte order mark. Throws Error that begins with `name` for bytes of another
// encoding: UTF-16 and UTF-32 are told by their marks or zero bytes, else the first byte that is
// not UTF-8 is named, with the encoding that it is likely to be of.
std::string decode_text(std::span<const std::byte> bytes, const std::string& name);

// One line of a text: white space, line ends, control characters and U+200B become single spaces,
// none of them at the ends; signs that are neither seen nor part of a character (byte order marks,
// soft hyphens, U+2060, marks of direction) are dropped. Empty when nothing is left. `text` is
// UTF-8.
std::string tidy_caption(const std::string& text);

// A text for a message, cut at 60 characters.
std::string shortened(const std::string& text);

}  // namespace zoodip
