// Captions with a placeholder, turned into token ids once.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "nn/tokenizer.h"

namespace zoodip {

// By a text encoder's key; "" is any encoder's, where there is one.
using EncoderTensors = std::map<std::string, at::Tensor>;
// nullptr where there is nothing for it.
const at::Tensor* of_encoder(const EncoderTensors& tensors, const std::string& encoder);

// One text, ready for the encoder: ids [1, 77] and where each placed word's vectors go.
struct PreparedText {
    struct Place {
        std::size_t word;       // index into the words that were given
        std::int64_t position;  // of its first vector
    };
    at::Tensor ids;
    std::vector<Place> places;
    // Other learned words, which stay as they are: of each encoder float32 [positions, width].
    std::vector<std::int64_t> fixed_positions = {};
    EncoderTensors fixed_vectors = {};
};

// Whether one of the words that were given is in it.
bool has_word(const PreparedText& text, std::size_t word);

// A word that is not in the vocabulary, and how many token positions it takes.
struct PlacedWord {
    std::string word;
    std::int64_t vectors = 1;
};

// Every whole occurrence of each word (nn/word_edges.h) becomes its vectors' places; the text
// between is tokenised by itself, as if spaces stood around the word. Throws Error for more than 75
// tokens, for a word without a name and for a text that is not UTF-8.
PreparedText prepare_text(const Tokenizer& tokenizer, const std::string& text,
                          const std::vector<PlacedWord>& words);

// The text with words, and spaces around them, in the places of "{sks}", which stands for the word
// sks, and of "{}", which stands for the only one.
std::string fill_braces(std::string text, const std::vector<PlacedWord>& words);

// A training caption: each word may be written out or stand in braces, as above. Throws Error,
// naming `source`, when the caption has none of the words, "{}" where there are several, or more
// than 75 tokens.
PreparedText prepare_caption(const Tokenizer& tokenizer, const std::string& caption,
                             const std::vector<PlacedWord>& words, const std::string& source);

// Throws Error unless the word can name a token (words/word.h). Logs a warning when it is an
// ordinary word of the vocabulary, or one of the initialiser's.
void check_placeholder(const Tokenizer& tokenizer, const std::string& word,
                       const std::string& initialiser);

// The id of a single-token initialiser. Throws Error that lists its pieces and which single words
// it contains.
std::int64_t initialiser_id(const Tokenizer& tokenizer, const std::string& word);

// The ids of words with spaces or commas between them, each a single token. Throws as above.
std::vector<std::int64_t> initialiser_ids(const Tokenizer& tokenizer, const std::string& words);

}  // namespace zoodip
