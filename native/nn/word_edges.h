// Where a learned word stands in a text: whole, and not as a part of a longer word.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace zoodip {

// What a character beside a word is to it (Unicode Standard Annex #29, "Text Segmentation", but for
// what a name is written next to: see `other`).
enum class WordNeighbour {
    letter,     // makes the word longer: letters (\p{L}), digits (\p{Nd}, \p{Nl}), underscores
                // (\p{Pc})
    mark,       // belongs to the letter before it (\p{Mn}, \p{Mc}): an accent
    invisible,  // is as if it were not there: \p{Cf} and variation selectors, but not U+200B
    // An edge: spaces, punctuation, symbols, emoji, U+200B, and letters of scripts that are written
    // without spaces or join endings to foreign words: Chinese, Japanese, Korean, Thai, Lao, Khmer,
    // Burmese, Tibetan, Yi and their kind.
    other
};
WordNeighbour word_neighbour(std::int32_t code_point);

struct FoundWord {
    std::size_t word;        // index into the words that were given
    std::size_t begin, end;  // bytes of the text
};

// Every whole occurrence of each word in UTF-8 `text`, from left to right: ASCII letters in any
// case, the longest word where several begin at one place. Words are ASCII and not empty. Throws
// Error, naming the byte, for a text that is not UTF-8.
//
// An occurrence is whole when the first visible character behind it is `other` or missing, and so
// is the first one before it that is neither invisible nor a mark.
std::vector<FoundWord> find_words(std::string_view text, const std::vector<std::string>& words);

}  // namespace zoodip
