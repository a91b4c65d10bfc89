#include "train/captions.h"

#include <algorithm>
#include <cctype>
#include <optional>

#include <ATen/ops/tensor.h>

#include "core/error.h"
#include "core/log.h"
#include "train/word.h"

namespace zoodip {
namespace {

constexpr std::size_t max_tokens = 75;

// Ids of merges are in order of frequency in CLIP's training text. Rare strings such as "sks"
// (48136) and "ohwx" (47993) lie beyond this; nearly all words that people use do not.
constexpr std::int64_t ordinary_below = 47990;

// The words of an initialiser, with spaces or commas between them.
std::vector<std::string> words_of(const std::string& text) {
    constexpr const char* between = " \t\r\n,";
    std::vector<std::string> words;
    for (std::size_t at = text.find_first_not_of(between); at != std::string::npos;) {
        const std::size_t end = text.find_first_of(between, at);
        words.push_back(text.substr(at, end - at));
        at = text.find_first_not_of(between, end);
    }
    return words;
}

char lower(char c) {
    return static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
}

// Bytes of a multi-byte character count as letters, so that a word inside another is left alone.
bool is_word_character(char c) {
    const auto byte = static_cast<unsigned char>(c);
    return std::isalnum(byte) || byte == '_' || byte >= 0x80;
}

bool matches_at(const std::string& text, std::size_t at, const std::string& word) {
    if (at + word.size() > text.size()) return false;
    for (std::size_t i = 0; i < word.size(); ++i) {
        if (lower(text[at + i]) != lower(word[i])) return false;
    }
    const std::size_t end = at + word.size();
    const bool starts = at == 0 || !is_word_character(text[at - 1]);
    return starts && (end == text.size() || !is_word_character(text[end]));
}

std::optional<std::size_t> word_at(const std::string& text, std::size_t at,
                                   const std::vector<PlacedWord>& words) {
    std::optional<std::size_t> best;
    for (std::size_t i = 0; i < words.size(); ++i) {
        const bool longer = !best || words[i].word.size() > words[*best].word.size();
        if (longer && matches_at(text, at, words[i].word)) best = i;
    }
    return best;
}

// The ids so far; placed words hold 0, which the injection replaces.
struct Builder {
    const Tokenizer& tokenizer;
    std::vector<std::int64_t> ids = {Tokenizer::bos};
    std::vector<PreparedText::Place> places = {};

    void add_text(const std::string& text) {
        const auto more = tokenizer.encode(text);
        ids.insert(ids.end(), more.begin(), more.end());
    }
    void add_word(std::size_t word, std::int64_t vectors) {
        places.push_back({word, static_cast<std::int64_t>(ids.size())});
        ids.insert(ids.end(), static_cast<std::size_t>(vectors), std::int64_t{0});
    }
};

std::string joined(const std::vector<std::string>& items) {
    std::string out;
    for (const auto& item : items) out += (out.empty() ? "" : ", ") + item;
    return out;
}

}  // namespace

PreparedText prepare_text(const Tokenizer& tokenizer, const std::string& text,
                          const std::vector<PlacedWord>& words) {
    for (const PlacedWord& word : words) {
        require(!word.word.empty(), "'", text, "': one of the words to place has no name");
    }
    Builder builder{tokenizer};
    std::string plain;
    for (std::size_t i = 0; i < text.size();) {
        const auto word = word_at(text, i, words);
        if (!word) {
            plain += text[i++];
            continue;
        }
        builder.add_text(plain);
        plain.clear();
        builder.add_word(*word, words[*word].vectors);
        i += words[*word].word.size();
    }
    builder.add_text(plain);
    const std::size_t count = builder.ids.size() - 1;
    require(count <= max_tokens, "'", text, "' has ", count, " tokens; the text encoder takes ",
            max_tokens, ". Shorten it");
    builder.ids.resize(max_tokens + 2, Tokenizer::eos);
    return {.ids = at::tensor(builder.ids, at::kLong).unsqueeze(0),
            .places = std::move(builder.places)};
}

PreparedText prepare_caption(const Tokenizer& tokenizer, const std::string& caption,
                             const PlacedWord& word, const std::string& source) {
    std::string text = caption;
    for (std::size_t at = text.find("{}"); at != std::string::npos; at = text.find("{}", at)) {
        text.replace(at, 2, " " + word.word + " ");
    }
    try {
        PreparedText prepared = prepare_text(tokenizer, text, {word});
        require(!prepared.places.empty(), "'", caption, "' does not contain the word: put {} (or '",
                word.word, "') where the subject is named");
        return prepared;
    } catch (const Error& error) {
        fail(source, ": ", error.what());
    }
}

void check_placeholder(const Tokenizer& tokenizer, const std::string& word,
                       const std::string& initialiser) {
    check_word(word);
    const auto id = tokenizer.single_token(word);
    const auto starts = words_of(initialiser);
    const bool from_itself = std::any_of(starts.begin(), starts.end(), [&](const auto& start) {
        return id && tokenizer.single_token(start) == id;
    });
    if (id && (*id < ordinary_below || from_itself)) {
        log_warning("'", word,
                    "' is an ordinary word that the model knows: prompts that use it "
                    "will show the new subject instead. A rare word such as sks keeps both apart");
    }
}

std::int64_t initialiser_id(const Tokenizer& tokenizer, const std::string& word) {
    const auto id = tokenizer.single_token(word);
    if (id) return *id;
    const auto pieces = tokenizer.split(word);
    require(!pieces.empty(), "initialiser: needs one word that says what the subject is, for ",
            "example dog; got '", word, "'");
    const auto singles = tokenizer.single_words_in(word);
    fail("initialiser: '", word, "' is ", pieces.size(), " tokens (", joined(pieces),
         "); it must be a single one. ",
         singles.empty() ? std::string("Use a plainer word for the same kind of thing, for example "
                                       "dog, shoe, toy or person")
                         : "Single words in it: " + joined(singles));
}

std::vector<std::int64_t> initialiser_ids(const Tokenizer& tokenizer, const std::string& words) {
    std::vector<std::int64_t> ids;
    for (const std::string& word : words_of(words)) ids.push_back(initialiser_id(tokenizer, word));
    if (ids.empty()) initialiser_id(tokenizer, words);  // says what it needs
    return ids;
}

}  // namespace zoodip
