// Text as code points: UTF-8, normal form C, lower case and the classes that word splitting asks
// for. The tables are utf8proc's; a code point newer than they are is left as it is and is neither
// a letter nor a number.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace zoodip {

using CodePoints = std::vector<std::int32_t>;

// Throws Error naming the first byte (counted from 0) at which `text` is not valid UTF-8.
CodePoints decode_utf8(std::string_view text);

// How many bytes `text` has before the first at which it is not valid UTF-8; all of them without.
std::size_t valid_utf8_length(std::string_view text);

void append_utf8(std::int32_t code_point, std::string& out);

// Any bytes as valid UTF-8: U+FFFD stands for each maximal part that cannot be read (the Unicode
// standard, chapter 3.9, "U+FFFD Substitution of Maximal Subparts").
std::string lossy_utf8(std::string_view bytes);

// Normal form C. O(n log n), also for a letter under thousands of combining marks.
CodePoints normalize_nfc(const CodePoints& points);

// Each code point's own lower case, whatever stands around it: U+0130 becomes two code points,
// and there is no rule for a final sigma.
CodePoints lowercase(const CodePoints& points);

enum class CharacterClass { letter, number, space, other };  // \p{L}, \p{N}, \s, the rest
CharacterClass character_class(std::int32_t code_point);

// The general category in two letters, such as "Lu"; "Cn" for a code point the tables do not know.
// Throws Error outside 0 .. 0x10FFFF.
std::string unicode_category(std::int32_t code_point);

}  // namespace zoodip
