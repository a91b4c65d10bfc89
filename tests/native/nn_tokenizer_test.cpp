// The vocabulary's well-known ids, the byte-pair model on vocabularies small enough to work by
// hand, and text handling. tests/python/test_tokenizer.py compares with the reference.
#include <algorithm>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "core/error.h"
#include "nn/byte_pair.h"
#include "nn/pre_tokenize.h"
#include "nn/text_normalize.h"
#include "nn/tokenizer.h"

namespace zoodip {
namespace {

using Ids = std::vector<std::int64_t>;
using Texts = std::vector<std::string>;

template <class Action>
std::string message_of(Action action) {
    try {
        action();
    } catch (const Error& error) {
        return error.what();
    }
    return "no error";
}

bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

Ids encode_word(const BytePair& model, std::string_view word) {
    Ids ids;
    model.encode(word, ids);
    return ids;
}

// 'a' is byte 97; the alphabet starts at '!', byte 33.
constexpr std::int64_t a = 97 - 33, b = a + 1, word_end = 256, first_merge = 512;

TEST(BytePair, MergesTheBestPairFirstAndTheLeftmostOfEquals) {
    const BytePair model("a a\nb a\naa b</w>\n");
    EXPECT_EQ(encode_word(model, "a"), (Ids{a + word_end}));
    EXPECT_EQ(encode_word(model, "aaaa"), (Ids{first_merge, a, a + word_end}));
    EXPECT_EQ(encode_word(model, "aab"), (Ids{first_merge + 2}));
    EXPECT_EQ(encode_word(model, "baab"), (Ids{b, first_merge + 2}));
    EXPECT_EQ(encode_word(model, "bab"), (Ids{first_merge + 1, b + word_end}));
    EXPECT_EQ(model.size(), first_merge + 3);
    EXPECT_EQ(model.bytes(first_merge + 2), "aab");
}

TEST(BytePair, KnowsEveryByte) {
    const BytePair model("");
    std::vector<bool> seen(first_merge, false);
    for (int byte = 0; byte < 256; ++byte) {
        const std::string twice(2, static_cast<char>(byte));
        const Ids ids = encode_word(model, twice);
        ASSERT_EQ(ids.size(), 2U);
        EXPECT_EQ(ids[1], ids[0] + word_end);
        EXPECT_EQ(model.bytes(ids[0]) + model.bytes(ids[1]), twice);
        for (const std::int64_t id : ids) seen[static_cast<std::size_t>(id)] = true;
    }
    EXPECT_EQ(std::count(seen.begin(), seen.end(), true), first_merge);
}

TEST(BytePair, ReadsWindowsLineEnds) {
    const BytePair model("a a\r\naa b</w>\r\n");
    EXPECT_EQ(encode_word(model, "aab"), (Ids{first_merge + 1}));
}

TEST(BytePair, RefusesABrokenVocabulary) {
    const auto message = [](std::string_view merges) {
        return message_of([&] { BytePair model(merges); });
    };
    EXPECT_TRUE(contains(message("a a\nab\n"), "line 2 is 'ab'"));
    EXPECT_TRUE(contains(message("a a\na bb\n"), "'bb' is made by no line before it"));
    EXPECT_TRUE(contains(message("a a\n\na b\n"), "line 2 is ''"));
    EXPECT_TRUE(contains(message("a a\na a\n"), "second time"));
    EXPECT_TRUE(contains(message("a</w> a\n"), "end of a word"));
    EXPECT_TRUE(contains(message_of([] { encode_word(BytePair(""), ""); }), "empty"));
}

TEST(TextNormalize, NamesTheByteThatIsNotUtf8) {
    const auto message = [](std::string_view text) {
        return message_of([&] { decode_utf8(text); });
    };
    EXPECT_TRUE(contains(message("ab\xFF"), "byte 2 of 3"));
    EXPECT_TRUE(contains(message("\xC3\xA9\xC3"), "byte 2 of 3"));      // cut short
    EXPECT_TRUE(contains(message("x\xC0\x80"), "byte 1 of 3"));         // overlong
    EXPECT_TRUE(contains(message("\xED\xA0\x80"), "byte 0 of 3"));      // a surrogate
    EXPECT_TRUE(contains(message("\xF4\x90\x80\x80"), "byte 0 of 4"));  // beyond U+10FFFF
    EXPECT_EQ(decode_utf8("\xF4\x8F\xBF\xBF"), (CodePoints{0x10FFFF}));
}

TEST(TextNormalize, ReplacesEachUnreadablePart) {
    const std::string mark = "\xEF\xBF\xBD";
    EXPECT_EQ(lossy_utf8("a\xE2\x80z"), "a" + mark + "z");
    EXPECT_EQ(lossy_utf8("\x80\x80"), mark + mark);
    EXPECT_EQ(lossy_utf8("\xF0\x9F\x98"), mark);
    EXPECT_EQ(lossy_utf8("\xED\xA0\x80"), mark + mark + mark);
    EXPECT_EQ(lossy_utf8("\xC3\xA9"), "\xC3\xA9");
}

TEST(TextNormalize, ComposesAndOrdersMarks) {
    EXPECT_EQ(normalize_nfc({'e', 0x301}), (CodePoints{0xE9}));
    // A dot below (class 220) goes before an acute accent (230), and composes first.
    EXPECT_EQ(normalize_nfc({'e', 0x301, 0x323}), (CodePoints{0x1EB9, 0x301}));
    EXPECT_EQ(normalize_nfc({0x1100, 0x1161, 0x11A8}), (CodePoints{0xAC01}));  // Hangul
    EXPECT_EQ(normalize_nfc({0x958}), (CodePoints{0x915, 0x93C}));  // excluded from composition
    // U+11A7 stands just before the trailing consonants, is not one of them and must stay.
    EXPECT_EQ(normalize_nfc({0x11A7, 0x1100, 0x1161, 0x11A7, 0x301, 'e', 0x301}),
              (CodePoints{0x11A7, 0xAC00, 0x11A7, 0x301, 0xE9}));
    // A long run under one letter: all of class 220 before all of class 230, the first composed.
    CodePoints marks{'q'}, sorted{'q'};
    constexpr std::size_t pairs = 10000;
    for (std::size_t i = 0; i < pairs; ++i) marks.insert(marks.end(), {0x301, 0x323});
    sorted.insert(sorted.end(), pairs, 0x323);
    sorted.insert(sorted.end(), pairs, 0x301);
    EXPECT_EQ(normalize_nfc(marks), sorted);
}

TEST(TextNormalize, LowersEachCodePointAlone) {
    EXPECT_EQ(lowercase({0x130}), (CodePoints{'i', 0x307}));
    EXPECT_EQ(lowercase({0x391, 0x3A3}), (CodePoints{0x3B1, 0x3C3}));  // no final sigma
    EXPECT_EQ(lowercase({0x1E9E, '9', 'Z'}), (CodePoints{0xDF, '9', 'z'}));
}

TEST(PreTokenize, SplitsAsThePatternDoes) {
    const auto words = [](std::string_view text) {
        Texts texts;
        for (const Word& word : pre_tokenize(decode_utf8(text))) texts.push_back(word.text);
        return texts;
    };
    EXPECT_EQ(words("don't!"), (Texts{"don", "'t", "!"}));
    EXPECT_EQ(words("'sh"), (Texts{"'s", "h"}));
    EXPECT_EQ(words("!'s"), (Texts{"!'", "s"}));
    EXPECT_EQ(words("a1 23_b"), (Texts{"a", "1", "2", "3", "_", "b"}));
    EXPECT_EQ(words("<|endoftext|>!!"), (Texts{"<|", "endoftext", "|>", "!!"}));
    EXPECT_EQ(words("!<|endoftext|>!!"), (Texts{"!<|", "endoftext", "|>!!"}));
    EXPECT_EQ(words(" \t\xC2\xA0\xC2\x85"), Texts{});
}

TEST(Tokenizer, HasTheKnownIds) {
    const Tokenizer& tokenizer = clip_tokenizer();
    EXPECT_EQ(tokenizer.encode("a photo of a cat"), (Ids{320, 1125, 539, 320, 2368}));
    EXPECT_EQ(tokenizer.encode(""), Ids{});
    EXPECT_EQ(tokenizer.encode("a <|endoftext|>"), (Ids{320, Tokenizer::eos}));
    EXPECT_EQ(tokenizer.single_token("sks"), 48136);
    EXPECT_EQ(tokenizer.single_token("wobbly"), std::nullopt);
    EXPECT_EQ(tokenizer.single_token("<|endoftext|>"), std::nullopt);
    EXPECT_EQ(tokenizer.single_token(""), std::nullopt);
}

TEST(Tokenizer, NamesThePiecesOfAWord) {
    const Tokenizer& tokenizer = clip_tokenizer();
    EXPECT_EQ(tokenizer.split("wobbly teapot"), (Texts{"wo", "bbly", "teapot"}));
    EXPECT_EQ(tokenizer.single_words_in("A wobbly Teapot, a 1 <|endoftext|>!"),
              (Texts{"a", "teapot"}));
    EXPECT_EQ(tokenizer.decode(Tokenizer::bos), "<|startoftext|>");
    EXPECT_TRUE(contains(message_of([&] { tokenizer.decode(49408); }), "token id 49408"));
    EXPECT_TRUE(contains(message_of([&] { tokenizer.decode(-1); }), "token id -1"));
}

TEST(Tokenizer, PadsAPromptAndRefusesALongOne) {
    const Tokenizer& tokenizer = clip_tokenizer();
    Ids expected(77, Tokenizer::eos);
    expected[0] = Tokenizer::bos;
    expected[1] = 2368;
    EXPECT_EQ(tokenizer.encode_prompt("cat"), expected);

    std::string longest;
    for (int i = 0; i < 75; ++i) longest += "cat ";
    const Ids full = tokenizer.encode_prompt(longest);
    ASSERT_EQ(full.size(), 77U);
    EXPECT_EQ(full[75], 2368);
    EXPECT_EQ(full[76], Tokenizer::eos);
    const std::string message = message_of([&] { tokenizer.encode_prompt(longest + "dog"); });
    EXPECT_TRUE(contains(message, "'cat cat")) << message;
    EXPECT_TRUE(contains(message, "76 tokens")) << message;
    EXPECT_TRUE(contains(message, "at most 75")) << message;
}

TEST(Tokenizer, BoundsTheText) {
    const Tokenizer& tokenizer = clip_tokenizer();
    const std::string longest(Tokenizer::max_bytes, 'z');
    std::size_t letters = 0;
    for (const std::string& piece : tokenizer.split(longest)) letters += piece.size();
    EXPECT_EQ(letters, longest.size());
    const std::string message = message_of([&] { tokenizer.encode(longest + "z"); });
    EXPECT_TRUE(contains(message, "65537 bytes")) << message;
    EXPECT_TRUE(contains(message, "at most 65536")) << message;
}

}  // namespace
}  // namespace zoodip
