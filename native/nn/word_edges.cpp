#include "nn/word_edges.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utf8proc.h>
#include <utility>

#include "core/ascii.h"
#include "nn/text_normalize.h"

namespace zoodip {
namespace {

// Blocks of the scripts whose letters are an edge beside a word.
constexpr std::array<std::pair<std::int32_t, std::int32_t>, 19> unspaced = {{
    {0x0E00, 0x0FFF},    // Thai, Lao, Tibetan
    {0x1000, 0x109F},    // Myanmar
    {0x1100, 0x11FF},    // Hangul Jamo
    {0x1780, 0x17FF},    // Khmer
    {0x1950, 0x19FF},    // Tai Le, New Tai Lue, Khmer symbols
    {0x1A20, 0x1AAF},    // Tai Tham
    {0x2E80, 0xA4CF},    // CJK, kana, Bopomofo, Hangul letters, ideographs, Yi
    {0xA960, 0xA97F},    // Hangul Jamo
    {0xA9E0, 0xA9FF},    // Myanmar
    {0xAA60, 0xAADF},    // Myanmar, Tai Viet
    {0xAC00, 0xD7FF},    // Hangul syllables
    {0xF900, 0xFAFF},    // ideographs
    {0xFF65, 0xFFDC},    // halfwidth kana and Hangul
    {0x116D0, 0x116FF},  // Myanmar
    {0x11F00, 0x11F5F},  // Kawi
    {0x16FE0, 0x18DFF},  // Tangut, Khitan and ideographic signs
    {0x1AFF0, 0x1B2FF},  // kana, Nushu
    {0x20000, 0x2FFFF},  // ideographs
    {0x30000, 0x3FFFF},  // ideographs
}};

bool is_unspaced(std::int32_t point) {
    return std::any_of(unspaced.begin(), unspaced.end(), [&](const auto& block) {
        return point >= block.first && point <= block.second;
    });
}

bool is_variation_selector(std::int32_t point) {
    return (point >= 0xFE00 && point <= 0xFE0F) || (point >= 0xE0100 && point <= 0xE01EF) ||
           (point >= 0x180B && point <= 0x180D) || point == 0x180F || point == 0x034F;
}

// A text as code points, and the byte at which each begins.
struct Points {
    explicit Points(std::string_view text) : points(decode_utf8(text)) {
        for (std::size_t i = 0; i < text.size(); ++i) {
            if ((static_cast<unsigned char>(text[i]) & 0xC0) != 0x80) at.push_back(i);
        }
        at.push_back(text.size());
    }
    CodePoints points;
    std::vector<std::size_t> at;
};

bool stands_at(const CodePoints& points, std::size_t begin, const std::string& word) {
    if (word.size() > points.size() - begin) return false;
    for (std::size_t i = 0; i < word.size(); ++i) {
        const std::int32_t point = points[begin + i];
        const bool upper = point >= 'A' && point <= 'Z';
        if ((upper ? point - 'A' + 'a' : point) != word[i]) return false;
    }
    return true;
}

bool begins_word(const CodePoints& points, std::size_t begin) {
    while (begin > 0) {
        const WordNeighbour before = word_neighbour(points[--begin]);
        if (before == WordNeighbour::other) return true;
        if (before == WordNeighbour::letter) return false;
    }
    return true;
}

bool ends_word(const CodePoints& points, std::size_t end) {
    for (; end < points.size(); ++end) {
        const WordNeighbour behind = word_neighbour(points[end]);
        if (behind != WordNeighbour::invisible) return behind == WordNeighbour::other;
    }
    return true;
}

std::optional<std::size_t> word_at(const CodePoints& points, std::size_t begin,
                                   const std::vector<std::string>& lower_words) {
    std::optional<std::size_t> best;
    for (std::size_t i = 0; i < lower_words.size(); ++i) {
        const std::string& word = lower_words[i];
        if (best && word.size() <= lower_words[*best].size()) continue;
        if (stands_at(points, begin, word) && begins_word(points, begin) &&
            ends_word(points, begin + word.size())) {
            best = i;
        }
    }
    return best;
}

}  // namespace

WordNeighbour word_neighbour(std::int32_t code_point) {
    if (is_variation_selector(code_point)) return WordNeighbour::invisible;
    switch (utf8proc_category(code_point)) {
        case UTF8PROC_CATEGORY_LU:
        case UTF8PROC_CATEGORY_LL:
        case UTF8PROC_CATEGORY_LT:
        case UTF8PROC_CATEGORY_LM:
        case UTF8PROC_CATEGORY_LO:
        case UTF8PROC_CATEGORY_ND:
        case UTF8PROC_CATEGORY_NL:
        case UTF8PROC_CATEGORY_PC:
            return is_unspaced(code_point) ? WordNeighbour::other : WordNeighbour::letter;
        case UTF8PROC_CATEGORY_MN:
        case UTF8PROC_CATEGORY_MC:
            return WordNeighbour::mark;
        case UTF8PROC_CATEGORY_CF:  // U+200B stands where a word may end
            return code_point == 0x200B ? WordNeighbour::other : WordNeighbour::invisible;
        default:
            return WordNeighbour::other;
    }
}

std::vector<FoundWord> find_words(std::string_view text, const std::vector<std::string>& words) {
    std::vector<std::string> lower_words;
    for (const std::string& word : words) lower_words.push_back(lower_ascii(word));
    const Points all(text);
    std::vector<FoundWord> found;
    for (std::size_t i = 0; i < all.points.size();) {
        const auto word = word_at(all.points, i, lower_words);
        const std::size_t length = word ? lower_words[*word].size() : 1;
        if (word) found.push_back({*word, all.at[i], all.at[i + length]});
        i += length;
    }
    return found;
}

}  // namespace zoodip
