// CLIP's tokenizer (OpenAI CLIP, simple_tokenizer.py), as transformers.CLIPTokenizer computes it:
// normal form C, lower case, pre_tokenize(), byte pairs. The same ids for every text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "nn/byte_pair.h"
#include "nn/pre_tokenize.h"

namespace zoodip {

// Every function that takes text throws Error when it is not valid UTF-8 (naming the byte) or is
// longer than max_bytes. Safe to use from several threads at once.
class Tokenizer {
  public:
    static constexpr std::int64_t bos = 49406;  // <|startoftext|>
    static constexpr std::int64_t eos = 49407;  // <|endoftext|>, which also pads
    static constexpr std::int64_t vocabulary = 49408;
    static constexpr std::size_t max_positions = 77;  // with bos and eos
    static constexpr std::size_t max_bytes = 65536;

    // The vocabulary that is part of the library. Takes some milliseconds: build it once.
    Tokenizer();

    // The ids of `text`, without bos and eos. The literal <|startoftext|> or <|endoftext|> in
    // it is that token; in any other case of letters it is ordinary text.
    std::vector<std::int64_t> encode(std::string_view text) const;

    // bos, the ids of `text`, eos up to max_positions. Throws Error when `text` has more than
    // max_positions - 2 tokens.
    std::vector<std::int64_t> encode_prompt(std::string_view text) const;

    // The text of one token; U+FFFD where its bytes are only part of a character.
    // Throws Error outside 0 .. vocabulary - 1.
    std::string decode(std::int64_t id) const;

    // The texts of the tokens of `text`: "wobbly teapot" -> wo, bbly, teapot.
    std::vector<std::string> split(std::string_view text) const;

    // The id of `word` when it is one token that is not bos or eos.
    std::optional<std::int64_t> single_token(std::string_view word) const;

    // The words of letters in `text` that are one token, in order and each once, in lower case.
    std::vector<std::string> single_words_in(std::string_view text) const;

  private:
    BytePair byte_pair_;
};

// Built on first use.
const Tokenizer& clip_tokenizer();

}  // namespace zoodip
