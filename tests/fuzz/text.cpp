// Any bytes as text: the first line as the name of a new word, the rest as a caption.
#include <algorithm>
#include <string>

#include "fuzz.h"

#include "nn/text_normalize.h"
#include "words/captions.h"

namespace zoodip::fuzz {
namespace {

void check_tokenizer(const Tokenizer& tokenizer, const std::string& text) {
    std::vector<std::int64_t> ids;
    if (!accepted([&] { ids = tokenizer.encode(text); })) {
        const std::string mended = lossy_utf8(text);
        expect(accepted([&] { tokenizer.encode(mended); }) || mended.size() > Tokenizer::max_bytes,
               "text in UTF-8 of no more than max_bytes is read");
        return;
    }
    for (const std::int64_t id : ids) {
        expect(id >= 0 && id < Tokenizer::vocabulary, "an id lies in the vocabulary");
        expect(!tokenizer.decode(id).empty(), "a token has a text");
    }
    const CodePoints normal = normalize_nfc(decode_utf8(text));
    expect(normalize_nfc(normal) == normal, "normal form C is reached at once");
    accepted([&] { tokenizer.encode_prompt(text); });
    tokenizer.single_words_in(text);
}

void check_prepared(const PreparedText& text, std::int64_t vectors) {
    expect(text.ids.sizes() == at::IntArrayRef({1, 77}), "a text has 77 ids");
    std::int64_t free = 1;  // after the begin
    for (const PreparedText::Place& place : text.places) {
        expect(place.word == 0 && place.position >= free, "places are in order and apart");
        free = place.position + vectors;
    }
    expect(free <= 76, "a place lies before the end");
}

void check_word(const Tokenizer& tokenizer, const std::string& word, const std::string& text) {
    accepted([&] { initialiser_id(tokenizer, word); });
    if (!accepted([&] { check_placeholder(tokenizer, word, text); })) return;
    const PlacedWord placed{word, static_cast<std::int64_t>(1 + text.size() % 4)};
    accepted([&] { check_prepared(prepare_text(tokenizer, text, {placed}), placed.vectors); });
    accepted([&] {
        const PreparedText caption = prepare_caption(tokenizer, text, {placed}, "caption");
        expect(!caption.places.empty(), "a caption names the word");
        check_prepared(caption, placed.vectors);
    });
}

}  // namespace
}  // namespace zoodip::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace zoodip;
    using namespace zoodip::fuzz;
    const std::string_view input = as_text(data, size);
    const std::string word(input.substr(0, input.find('\n')));
    const std::string text(input.substr(std::min(size, word.size() + 1)));
    check_tokenizer(clip_tokenizer(), text);
    check_word(clip_tokenizer(), word, text);
    return 0;
}
