#include "words/captions.h"

#include <algorithm>
#include <utility>

#include <ATen/ops/tensor.h>

#include "core/ascii.h"
#include "core/error.h"
#include "core/listed.h"
#include "core/log.h"
#include "nn/word_edges.h"
#include "pictures/caption_text.h"
#include "words/word.h"

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

// `what` in capitals or small letters, as words are found.
std::string replace_all(std::string text, const std::string& what, const std::string& by) {
    const std::string sought = lower_ascii(what);
    for (std::size_t at = lower_ascii(text).find(sought); at != std::string::npos;
         at = lower_ascii(text).find(sought, at + by.size())) {
        text.replace(at, what.size(), by);
    }
    return text;
}

std::string in_braces(const std::vector<PlacedWord>& words, const char* between) {
    std::vector<std::string> names;
    for (const PlacedWord& word : words) names.push_back("{" + word.word + "}");
    return listed(names, between);
}

}  // namespace

const at::Tensor* of_encoder(const EncoderTensors& tensors, const std::string& encoder) {
    auto found = tensors.find(encoder);
    if (found == tensors.end()) found = tensors.find("");
    return found == tensors.end() ? nullptr : &found->second;
}

bool has_word(const PreparedText& text, std::size_t word) {
    return std::any_of(text.places.begin(), text.places.end(),
                       [&](const PreparedText::Place& place) { return place.word == word; });
}

PreparedText prepare_text(const Tokenizer& tokenizer, const std::string& text,
                          const std::vector<PlacedWord>& words) {
    std::vector<std::string> names;
    for (const PlacedWord& word : words) {
        require(!word.word.empty(), "'", shortened(text),
                "': one of the words to place has no name");
        names.push_back(word.word);
    }
    Builder builder{tokenizer};
    std::size_t behind = 0;  // the words placed so far
    for (const FoundWord& found : find_words(text, names)) {
        builder.add_text(text.substr(behind, found.begin - behind));
        builder.add_word(found.word, words[found.word].vectors);
        behind = found.end;
    }
    builder.add_text(text.substr(behind));
    const std::size_t count = builder.ids.size() - 1;
    require(count <= max_tokens, "'", shortened(text), "' has ", count,
            " tokens; the text encoder takes ", max_tokens, ". Shorten it");
    builder.ids.resize(max_tokens + 2, Tokenizer::eos);
    return {.ids = at::tensor(builder.ids, at::kLong).unsqueeze(0),
            .places = std::move(builder.places)};
}

std::string fill_braces(std::string text, const std::vector<PlacedWord>& words) {
    for (const PlacedWord& word : words) {
        text = replace_all(std::move(text), "{" + word.word + "}", " " + word.word + " ");
    }
    if (words.size() != 1) return text;
    return replace_all(std::move(text), "{}", " " + words.front().word + " ");
}

PreparedText prepare_caption(const Tokenizer& tokenizer, const std::string& caption,
                             const std::vector<PlacedWord>& words, const std::string& source) {
    try {
        require(words.size() == 1 || caption.find("{}") == std::string::npos, "'",
                shortened(caption), "' has {}, which stands for the only word, and there are ",
                words.size(), ": write ", in_braces(words, " or "), " for the one that is meant");
        PreparedText prepared = prepare_text(tokenizer, fill_braces(caption, words), words);
        require(!prepared.places.empty(), "'", shortened(caption),
                words.size() == 1 ? concat("' does not contain the word: put {} (or '",
                                           words.front().word, "') where the subject is named")
                                  : concat("' contains none of the words: put ",
                                           in_braces(words, ", "), " where they are seen"));
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
    fail("initialiser: '", word, "' is ", pieces.size(), " tokens (", listed(pieces),
         "); it must be a single one. ",
         singles.empty() ? std::string("Use a plainer word for the same kind of thing, for example "
                                       "dog, shoe, toy or person")
                         : "Single words in it: " + listed(singles));
}

std::vector<std::int64_t> initialiser_ids(const Tokenizer& tokenizer, const std::string& given) {
    std::vector<std::int64_t> ids;
    for (const std::string& word : words_of(tidy_caption(given))) {
        ids.push_back(initialiser_id(tokenizer, word));
    }
    if (ids.empty()) initialiser_id(tokenizer, given);  // says what it needs
    return ids;
}

}  // namespace zoodip
