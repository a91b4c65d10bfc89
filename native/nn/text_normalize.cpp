#include "nn/text_normalize.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <utf8proc.h>

#include "core/error.h"

namespace zoodip {

namespace {

const utf8proc_uint8_t* as_bytes(std::string_view text) {
    return reinterpret_cast<const utf8proc_uint8_t*>(text.data());
}

// Reads the code point at the head of `text`, which is not empty. Returns its length in bytes, or
// 0 where there is none.
std::size_t read_code_point(std::string_view text, std::int32_t& code_point) {
    const auto length =
        utf8proc_iterate(as_bytes(text), static_cast<utf8proc_ssize_t>(text.size()), &code_point);
    return length > 0 ? static_cast<std::size_t>(length) : 0;
}

// The bytes that may follow a lead byte of UTF-8: the Unicode standard, table 3-7.
struct LeadByte {
    std::size_t length;             // of the whole sequence
    unsigned char lowest, highest;  // of the second byte; later ones are 0x80 .. 0xBF
};

LeadByte lead_byte(unsigned char byte) {
    if (byte >= 0xC2 && byte <= 0xDF) return {2, 0x80, 0xBF};
    if (byte == 0xE0) return {3, 0xA0, 0xBF};
    if (byte == 0xED) return {3, 0x80, 0x9F};
    if (byte >= 0xE1 && byte <= 0xEF) return {3, 0x80, 0xBF};
    if (byte == 0xF0) return {4, 0x90, 0xBF};
    if (byte >= 0xF1 && byte <= 0xF3) return {4, 0x80, 0xBF};
    if (byte == 0xF4) return {4, 0x80, 0x8F};
    return {1, 0, 0};
}

// How many bytes of an unreadable head one U+FFFD stands for.
std::size_t unreadable_length(std::string_view text) {
    const LeadByte lead = lead_byte(static_cast<unsigned char>(text[0]));
    std::size_t length = 1;
    while (length < lead.length && length < text.size()) {
        const auto byte = static_cast<unsigned char>(text[length]);
        const unsigned char lowest = length == 1 ? lead.lowest : 0x80;
        const unsigned char highest = length == 1 ? lead.highest : 0xBF;
        if (byte < lowest || byte > highest) break;
        ++length;
    }
    return length;
}

constexpr auto nfc_options = static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE);

int combining_class(std::int32_t code_point) {
    return utf8proc_get_property(code_point)->combining_class;
}

CodePoints decompose(const CodePoints& points) {
    CodePoints out;
    out.reserve(points.size());
    std::array<std::int32_t, 16> parts;  // the longest canonical decomposition has four
    for (const std::int32_t point : points) {
        int boundary = 0;
        const auto count = utf8proc_decompose_char(point, parts.data(),
                                                   static_cast<utf8proc_ssize_t>(parts.size()),
                                                   nfc_options, &boundary);
        require(count >= 0 && count <= static_cast<utf8proc_ssize_t>(parts.size()),
                "text: code point ", point, " has no canonical decomposition");
        out.insert(out.end(), parts.begin(), parts.begin() + count);
    }
    return out;
}

// Sorts each run of combining marks by its class. utf8proc's own sort is quadratic in the run.
void order_marks(CodePoints& points) {
    const auto is_starter = [](std::int32_t point) { return combining_class(point) == 0; };
    auto begin = points.begin();
    while (begin != points.end()) {
        begin = std::find_if_not(begin, points.end(), is_starter);
        const auto end = std::find_if(begin, points.end(), is_starter);
        std::stable_sort(begin, end, [](std::int32_t a, std::int32_t b) {
            return combining_class(a) < combining_class(b);
        });
        begin = end;
    }
}

// Composes ordered points in place, one stretch between two U+11A7 after the other. That code point
// composes with nothing, but utf8proc takes it for a trailing consonant and drops it.
void compose(CodePoints& points) {
    constexpr std::int32_t before_trailing_consonants = 0x11A7;
    auto end_of_composed = points.begin();
    for (auto begin = points.begin(); begin != points.end();) {
        const auto end = std::find(begin + 1, points.end(), before_trailing_consonants);
        const auto length = utf8proc_normalize_utf32(&*begin, end - begin, nfc_options);
        require(length >= 0, "text: cannot be brought to normal form C: ", utf8proc_errmsg(length));
        end_of_composed = std::copy(begin, begin + length, end_of_composed);
        begin = end;
    }
    points.erase(end_of_composed, points.end());
}

}  // namespace

CodePoints decode_utf8(std::string_view text) {
    CodePoints points;
    points.reserve(text.size());
    for (std::size_t at = 0; at < text.size();) {
        std::int32_t point = 0;
        const std::size_t length = read_code_point(text.substr(at), point);
        require(length > 0, "text: byte ", at, " of ", text.size(),
                " is not valid UTF-8; give the text in UTF-8");
        points.push_back(point);
        at += length;
    }
    return points;
}

std::size_t valid_utf8_length(std::string_view text) {
    std::size_t at = 0;
    for (std::int32_t point = 0; at < text.size();) {
        const std::size_t length = read_code_point(text.substr(at), point);
        if (length == 0) break;
        at += length;
    }
    return at;
}

void append_utf8(std::int32_t code_point, std::string& out) {
    std::array<utf8proc_uint8_t, 4> bytes;
    const auto length = utf8proc_encode_char(code_point, bytes.data());
    out.append(bytes.begin(), bytes.begin() + length);
}

std::string lossy_utf8(std::string_view bytes) {
    std::string out;
    while (!bytes.empty()) {
        std::int32_t point = 0;
        std::size_t length = read_code_point(bytes, point);
        if (length > 0) {
            out.append(bytes.substr(0, length));
        } else {
            length = unreadable_length(bytes);
            append_utf8(0xFFFD, out);
        }
        bytes.remove_prefix(length);
    }
    return out;
}

CodePoints normalize_nfc(const CodePoints& points) {
    CodePoints out = decompose(points);
    order_marks(out);
    compose(out);
    return out;
}

CodePoints lowercase(const CodePoints& points) {
    CodePoints out;
    out.reserve(points.size());
    for (const std::int32_t point : points) {
        if (point == 0x130) {  // the only lower case of several code points (SpecialCasing.txt)
            out.push_back('i');
            out.push_back(0x307);
        } else {
            out.push_back(utf8proc_tolower(point));
        }
    }
    return out;
}

CharacterClass character_class(std::int32_t code_point) {
    switch (utf8proc_category(code_point)) {
        case UTF8PROC_CATEGORY_LU:
        case UTF8PROC_CATEGORY_LL:
        case UTF8PROC_CATEGORY_LT:
        case UTF8PROC_CATEGORY_LM:
        case UTF8PROC_CATEGORY_LO:
            return CharacterClass::letter;
        case UTF8PROC_CATEGORY_ND:
        case UTF8PROC_CATEGORY_NL:
        case UTF8PROC_CATEGORY_NO:
            return CharacterClass::number;
        case UTF8PROC_CATEGORY_ZS:
        case UTF8PROC_CATEGORY_ZL:
        case UTF8PROC_CATEGORY_ZP:
            return CharacterClass::space;
        default:  // White_Space beyond the separators: tab .. carriage return, next line
            return (code_point >= 0x09 && code_point <= 0x0D) || code_point == 0x85
                       ? CharacterClass::space
                       : CharacterClass::other;
    }
}

std::string unicode_category(std::int32_t code_point) {
    require(code_point >= 0 && code_point <= 0x10FFFF, "unicode_category: ", code_point,
            " is not a code point; they are 0 .. 1114111");
    return utf8proc_category_string(code_point);
}

}  // namespace zoodip
