#include "pictures/caption_text.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "core/error.h"
#include "nn/text_normalize.h"

namespace zoodip {
namespace {

constexpr const char* remedy = ". Save it as UTF-8: any editor's Save As has a choice of encodings";

bool begins(std::string_view text, std::string_view start) {
    return text.substr(0, start.size()) == start;
}

// By its byte order mark, or by zero bytes, which text in UTF-8 has none of.
const char* wide_encoding(std::string_view text) {
    constexpr std::string_view utf32_le("\xFF\xFE\0\0", 4), utf32_be("\0\0\xFE\xFF", 4);
    if (begins(text, utf32_le) || begins(text, utf32_be)) return "UTF-32";
    if (begins(text, "\xFF\xFE")) return "UTF-16 (little endian)";
    if (begins(text, "\xFE\xFF")) return "UTF-16 (big endian)";
    const auto zero = text.find('\0');
    const auto zeros = static_cast<std::size_t>(std::count(text.begin(), text.end(), '\0'));
    if (zero == std::string_view::npos || zeros * 4 < text.size()) return nullptr;
    return zero % 2 == 1 ? "UTF-16 (little endian)" : "UTF-16 (big endian)";
}

bool is_high(char c) {
    return static_cast<unsigned char>(c) >= 0x80;
}

// Bytes 0x80 to 0x9F of Windows-1252, where it differs from Latin-1; 0 for none.
constexpr std::array<std::int32_t, 32> windows_signs = {
    0x20AC, 0,      0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021, 0x02C6, 0x2030, 0x0160,
    0x2039, 0x0152, 0,      0x017D, 0,      0,      0x2018, 0x2019, 0x201C, 0x201D, 0x2022,
    0x2013, 0x2014, 0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0,      0x017E, 0x0178};

// European texts have single bytes beyond ASCII among ASCII letters; those of other scripts are
// made of little else.
bool looks_western(std::string_view text) {
    std::size_t longest = 0, run = 0;
    for (const char c : text) {
        run = is_high(c) ? run + 1 : 0;
        longest = std::max(longest, run);
    }
    return longest <= 2;
}

std::string likely_encoding(std::string_view text, std::size_t at) {
    const auto byte = static_cast<unsigned char>(text[at]);
    const std::int32_t point = byte < 0xA0 ? windows_signs[byte - 0x80u] : byte;
    if (!looks_western(text) || point == 0) {
        return "it is likely of an older encoding such as GBK, Shift-JIS, EUC-KR or Windows-1251";
    }
    std::string sign;
    append_utf8(point, sign);
    return concat("it is likely Windows-1252", byte < 0xA0 ? "" : " (or Latin-1)",
                  ", where that byte is ", sign);
}

std::string hexadecimal(unsigned char byte) {
    constexpr const char* digits = "0123456789abcdef";
    return {'0', 'x', digits[byte >> 4], digits[byte & 15]};
}

bool is_dropped(std::int32_t point) {
    return point == 0xFEFF || point == 0x00AD || point == 0x2060 || point == 0x061C ||
           point == 0x200E || point == 0x200F || (point >= 0x202A && point <= 0x202E) ||
           (point >= 0x2066 && point <= 0x2069);
}

bool is_blank(std::int32_t point) {
    return point < 0x20 || (point >= 0x7F && point < 0xA0) || point == 0x200B ||
           character_class(point) == CharacterClass::space;
}

}  // namespace

std::string decode_text(std::span<const std::byte> bytes, const std::string& name) {
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (const char* encoding = wide_encoding(text)) {
        fail(name, ": is text in ", encoding, ", not in UTF-8", remedy);
    }
    const std::size_t bad = valid_utf8_length(text);
    if (bad < text.size()) {
        fail(name, ": byte ", bad, " (", hexadecimal(static_cast<unsigned char>(text[bad])),
             ") is not UTF-8; ", likely_encoding(text, bad), remedy);
    }
    return std::string(begins(text, "\xEF\xBB\xBF") ? text.substr(3) : text);
}

std::string tidy_caption(const std::string& text) {
    std::string out;
    bool blank = false;
    for (const std::int32_t point : decode_utf8(text)) {
        if (is_dropped(point)) continue;
        if (is_blank(point)) {
            blank = true;
            continue;
        }
        if (blank && !out.empty()) out += ' ';
        blank = false;
        append_utf8(point, out);
    }
    return out;
}

std::string shortened(const std::string& text) {
    constexpr std::size_t most = 60;
    std::size_t characters = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const bool begins_character = (static_cast<unsigned char>(text[i]) & 0xC0) != 0x80;
        if (begins_character && ++characters > most) return text.substr(0, i) + "...";
    }
    return text;
}

}  // namespace zoodip
