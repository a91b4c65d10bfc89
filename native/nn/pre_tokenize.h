// CLIP's splitting of a text into the words that byte pairs are merged within.
#pragma once

#include <string>
#include <vector>

#include "nn/text_normalize.h"

namespace zoodip {

struct Word {
    std::string text;     // UTF-8, not empty
    CharacterClass kind;  // of its characters; a contraction such as 's is `other`
};

// The words of a normalised, lower-case text: the matches of
//   <\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+
// in order; what is left over (white space) is dropped. The first two, which at this place are
// spellings of ordinary text, come as three words: <|, the letters, |>.
std::vector<Word> pre_tokenize(const CodePoints& points);

}  // namespace zoodip
