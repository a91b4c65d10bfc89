#include "nn/tokenizer.h"

#include <algorithm>
#include <array>
#include <utility>

#include "core/error.h"
#include "nn/text_normalize.h"

namespace zoodip {

namespace embedded {
extern const unsigned char clip_merges[];
extern const std::size_t clip_merges_size;
}  // namespace embedded

namespace {

struct SpecialToken {
    std::string_view text;
    std::int64_t id;
};

constexpr std::array<SpecialToken, 2> special_tokens{
    {{"<|startoftext|>", Tokenizer::bos}, {"<|endoftext|>", Tokenizer::eos}}};

const SpecialToken* special_token_at(const CodePoints& points, std::size_t at) {
    for (const SpecialToken& special : special_tokens) {
        if (points.size() - at < special.text.size()) continue;
        if (std::equal(special.text.begin(), special.text.end(),
                       points.begin() + static_cast<std::ptrdiff_t>(at))) {
            return &special;
        }
    }
    return nullptr;
}

CodePoints checked_code_points(std::string_view text) {
    require(text.size() <= Tokenizer::max_bytes, "text: it has ", text.size(),
            " bytes; the tokenizer reads at most ", Tokenizer::max_bytes, ", so shorten it");
    return decode_utf8(text);
}

// A word with the ids of its tokens. A special token is a word of its own: its id, and no text.
struct EncodedWord {
    explicit EncodedWord(const SpecialToken& special)
        : word{{}, CharacterClass::other}, ids{special.id} {}
    EncodedWord(const BytePair& byte_pair, Word part) : word(std::move(part)) {
        byte_pair.encode(word.text, ids);
    }

    Word word;
    std::vector<std::int64_t> ids;
};

class Encoder {
  public:
    explicit Encoder(const BytePair& byte_pair) : byte_pair_(byte_pair) {}

    std::vector<EncodedWord> run(std::string_view text) {
        const CodePoints points = checked_code_points(text);
        std::size_t begin = 0;  // of the ordinary text that is not yet encoded
        for (std::size_t at = 0; at < points.size();) {
            const SpecialToken* special = special_token_at(points, at);
            if (special == nullptr) {
                ++at;
                continue;
            }
            add_ordinary(points, begin, at);
            words_.emplace_back(*special);
            begin = at += special->text.size();
        }
        add_ordinary(points, begin, points.size());
        return std::move(words_);
    }

  private:
    // White space needs no folding to one blank, as the reference does: it only separates words.
    void add_ordinary(const CodePoints& points, std::size_t begin, std::size_t end) {
        const CodePoints part(points.begin() + static_cast<std::ptrdiff_t>(begin),
                              points.begin() + static_cast<std::ptrdiff_t>(end));
        for (Word& word : pre_tokenize(lowercase(normalize_nfc(part)))) {
            words_.emplace_back(byte_pair_, std::move(word));
        }
    }

    const BytePair& byte_pair_;
    std::vector<EncodedWord> words_;
};

// The head of a text, for a message; cut between code points.
std::string excerpt(std::string_view text) {
    constexpr std::size_t longest = 60;
    if (text.size() <= longest) return std::string(text);
    std::size_t end = longest;
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
    return std::string(text.substr(0, end)) + "...";
}

}  // namespace

Tokenizer::Tokenizer()
    : byte_pair_(
          {reinterpret_cast<const char*>(embedded::clip_merges), embedded::clip_merges_size}) {
    require(byte_pair_.size() == bos, "tokenizer: the vocabulary has ", byte_pair_.size(),
            " symbols, CLIP's has ", bos, "; build the library again from clean sources");
}

std::vector<std::int64_t> Tokenizer::encode(std::string_view text) const {
    std::vector<std::int64_t> ids;
    for (const EncodedWord& word : Encoder(byte_pair_).run(text)) {
        ids.insert(ids.end(), word.ids.begin(), word.ids.end());
    }
    return ids;
}

std::vector<std::int64_t> Tokenizer::encode_prompt(std::string_view text) const {
    constexpr std::size_t limit = max_positions - 2;
    const auto ids = encode(text);
    require(ids.size() <= limit, "prompt '", excerpt(text), "' is ", ids.size(),
            " tokens long; CLIP reads at most ", limit, ", so shorten it");
    std::vector<std::int64_t> padded(max_positions, eos);
    padded.front() = bos;
    std::copy(ids.begin(), ids.end(), padded.begin() + 1);
    return padded;
}

std::string Tokenizer::decode(std::int64_t id) const {
    require(id >= 0 && id < vocabulary, "token id ", id, " does not exist; CLIP's ids are 0 .. ",
            vocabulary - 1);
    for (const SpecialToken& special : special_tokens) {
        if (special.id == id) return std::string(special.text);
    }
    return lossy_utf8(byte_pair_.bytes(id));
}

std::vector<std::string> Tokenizer::split(std::string_view text) const {
    std::vector<std::string> pieces;
    for (const std::int64_t id : encode(text)) pieces.push_back(decode(id));
    return pieces;
}

std::optional<std::int64_t> Tokenizer::single_token(std::string_view word) const {
    const auto ids = encode(word);
    if (ids.size() != 1 || ids[0] == bos || ids[0] == eos) return std::nullopt;
    return ids[0];
}

std::vector<std::string> Tokenizer::single_words_in(std::string_view text) const {
    std::vector<std::string> words;
    for (const EncodedWord& encoded : Encoder(byte_pair_).run(text)) {
        const Word& word = encoded.word;
        if (word.kind != CharacterClass::letter || encoded.ids.size() != 1) continue;
        if (std::find(words.begin(), words.end(), word.text) == words.end()) {
            words.push_back(word.text);
        }
    }
    return words;
}

const Tokenizer& clip_tokenizer() {
    static const Tokenizer tokenizer;
    return tokenizer;
}

}  // namespace zoodip
