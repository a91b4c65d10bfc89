"""The native CLIP tokenizer against transformers.CLIPTokenizer, built from the same merges.

The two follow different versions of Unicode, and the reference follows more than one: its normal
form C knows Unicode 9, its pattern and its lower case know later ones. So two sets are left out,
both found by asking the tables themselves, and nothing else:
- code points that one of the two sides does not know (general category Cn) are not used at all;
- code points whose reordering or composition the reference's normal form C does not know, because
  they are newer than it, are compared one at a time but not in mixtures.
"""

import random
import sys
import unicodedata
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, normalizers, pre_tokenizers
from zoodip import _native

from demo.tokenizer import END as EOS
from demo.tokenizer import MERGES, build_tokenizer
from demo.tokenizer import START as BOS


@pytest.fixture(scope="module")
def reference():
    tokenizer = build_tokenizer()
    assert len(tokenizer) == 49408
    return tokenizer


@pytest.fixture(scope="module")
def native():
    return _native.Tokenizer()


def expected_ids(reference, texts):
    encodings = reference.backend_tokenizer.encode_batch(texts, add_special_tokens=False)
    return [encoding.ids for encoding in encodings]


def assert_same(native, reference, texts):
    """Compares all texts and reports the first few that differ."""
    pairs = zip(texts, expected_ids(reference, texts), strict=True)
    wrong = [(text, ids, native.encode(text)) for text, ids in pairs if native.encode(text) != ids]
    shown = [(text[:80], ids[:20], mine[:20]) for text, ids, mine in wrong[:5]]
    assert not wrong, f"{len(wrong)} of {len(texts)} differ, such as (text, expected, got) {shown}"


@cache
def known_characters():
    """The code points that both sides know, without surrogates."""
    unknown = pre_tokenizers.Split(Regex(r"\p{Cn}"), behavior="removed")
    code_points = [c for c in range(sys.maxunicode + 1) if not 0xD800 <= c <= 0xDFFF]
    theirs = "".join(part for part, _ in unknown.pre_tokenize_str("".join(map(chr, code_points))))
    return [char for char in theirs if _native.unicode_category(ord(char)) != "Cn"]


@cache
def newer_than_reference_nfc():
    """The marks and composing characters that the reference's normal form C takes for neither."""
    nfc = normalizers.NFC().normalize_str
    newer = set()
    for char in known_characters():
        # Put out of order with a mark of the lowest or the highest class.
        mark_class = unicodedata.combining(char)
        pair = char + "\u0334" if mark_class > 1 else "\u0345" + char
        if mark_class and nfc(pair) == pair:
            newer.add(char)
        apart = unicodedata.normalize("NFD", char)
        if unicodedata.normalize("NFC", apart) == char and nfc(apart) != char:
            newer.update(apart)
    return newer


@cache
def mixable_characters():
    return [
        char
        for char in known_characters()
        if char not in newer_than_reference_nfc() and unicodedata.category(char) != "Cn"
    ]


@cache
def mixable_set():
    return frozenset(mixable_characters())


ORDINARY = [
    "a photo of a cat",
    "a photo of a sks dog, oil painting, 4k, trending on artstation",
    "A Shiny Sneaker on the beach; golden hour!",
    "(masterpiece:1.2), [best quality], {1girl}, <lora:foo:0.8>",
    "portrait of <my-word>, bokeh -- f/1.8 50mm @ ISO100",
    "don't can't we're they've I'm she'll he'd it's DON'T IT'S 'S 's' 'T ''s 'sh '' ' !'s",
    "rock 'n' roll ’s ‘t’ “quoted” — dash … ellipsis",
    "1234567890 3.14 1/2 ½ ¾ ² ³ Ⅷ ① ٣ 一 १२३ 2nd v1.5",
    "snake_case __init__ _ a_b a__b _1 1_",
    "http://example.com/?q=1&r=%20#top user@example.com",
    "",
    " ",
    "   leading and trailing   ",
    "tabs\tand\nlines\r\nand\x0bvertical\x0cfeed",
    "a\xa0b\u200bc\u200cd\u200de\u2060f\ufeffg\x85h\u3000i\u2028j\u2029k\u1680l\u180em\u202fn\u205fo",
    "\x00 a\x00b \x01\x02\x1c\x1d\x1e\x1f \x7f \x80\x9f",
    "👩\u200d👩\u200d👧\u200d👦 👍🏽 🏳\ufe0f\u200d🌈 🇫🇷 1\ufe0f\u20e3 ❤\ufe0f 😀😀😀",
    "e\u0301 E\u0301 n\u0303 a\u0323\u0302 a\u0302\u0323 q\u0307\u0323",
    "\u0301alone \u212b \u2126 \u1e9b\u0323",
    "한국어 \u1112\u1161\u11ab\u1100\u116e\u11a8 \u3131\u314f \ub450\u11a7 ﾊﾝｸﾞﾙ",
    "東京タワー カタカナ か\u3099 が 中文字符 龍 \U00020000 \uf900",
    "العربية مُحَمَّد \u0644\u0627 עִבְרִית हिन्दी \u0958 ไทย தமிழ் \u0f73",
    "İstanbul ISTANBUL ıI ΑΣ ΟΔΟΣ ẞ ß ǅ Ǆ K Å ﬁ Ꭰ ꭰ Ა ა Ω",
    "Zürich naïve façade Ångström Øre smörgåsbord ŁÓDŹ",
    "x" * 300 + " " + "Supercalifragilisticexpialidocious" * 20,
    "\ufffd \ufffe \uffff \U0001fffe \U0010ffff \ue000 \U000f0000",
]

SPECIAL = [
    BOS,
    EOS,
    f"a {EOS} b",
    f"a{EOS}b",
    f"{BOS}a cat{EOS}",
    f"{EOS}{EOS}{BOS}!{BOS}",
    f"<|startof{EOS}|>",
    f"<{EOS}>",
    f"<|{BOS}|>",
    BOS.upper(),
    EOS.upper() + "!!",
    "!!" + EOS.upper() + "x",
    f"e{EOS}\u0301",
    f"{EOS}'s",
    f"'{EOS}s",
    "<|endoftext |>",
    "<|endoftext|",
    "<|endoftext",
    "|endoftext|>",
    "<|ENDOFTEXT|><|startoftext|><|StartOfText|>'s",
]


@pytest.mark.parametrize("text", ORDINARY + SPECIAL)
def test_chosen_texts(native, reference, text):
    assert native.encode(text) == reference.encode(text, add_special_tokens=False)


def test_well_known_ids(native):
    assert native.encode("a photo of a cat") == [320, 1125, 539, 320, 2368]
    assert native.single_token("sks") == native.single_token(" SKS ") == 48136
    assert native.split("sks") == ["sks"]


def test_every_known_code_point(native, reference):
    # " x " keeps the characters of a line apart; "A" before each one shows which marks compose
    # with it and which characters join its word.
    characters = known_characters()
    assert len(characters) > 280_000  # Unicode 15 has 286 719 beside surrogates
    lines = [characters[i : i + 64] for i in range(0, len(characters), 64)]
    assert_same(native, reference, [" x ".join(line) for line in lines])
    assert_same(native, reference, ["".join("A" + char for char in line) for line in lines])


def test_what_is_left_out_of_mixtures_is_newer_than_unicode_3():
    # U+0C3C came with Unicode 14, U+1DF6 with 10. One that Unicode 3.2 has would hide an error.
    newer = newer_than_reference_nfc()
    assert {"\u0c3c", "\u1df6"} <= newer
    assert {unicodedata.ucd_3_2_0.category(char) for char in newer} == {"Cn"}
    assert len(newer) < 200


def test_random_strings_over_all_of_unicode(native, reference):
    # Plain draws are nearly all ideographs, so half of the characters come from the ones that
    # compose, change case, separate or join.
    generator = random.Random(20210105)
    characters = mixable_characters()
    lively = [char for char in characters if unicodedata.category(char) not in ("Lo", "Co", "So")]
    telling = list("aAsStT'  <|>_0149éİ\u0301\u0323\u200d\u1112\u1161\u11ab\u11a7") + [
        BOS,
        EOS,
        EOS.upper(),
    ]
    pools = [characters, lively, telling, telling]
    texts = [
        "".join(generator.choice(generator.choice(pools)) for _ in range(generator.randrange(40)))
        for _ in range(6000)
    ]
    assert_same(native, reference, texts)


@settings(max_examples=2000, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs", "Cn"])))
def test_hypothesis_text(native, reference, text):
    text = "".join(char for char in text if char in mixable_set())
    assert native.encode(text) == expected_ids(reference, [text])[0]


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from(["'s", "'S", "'", "re", "ll", " ", "1", "_", "!", "Ab", BOS, EOS])))
def test_hypothesis_pieces(native, reference, pieces):
    text = "".join(pieces)
    assert native.encode(text) == expected_ids(reference, [text])[0]


def test_random_words(native, reference):
    # Words drawn from the vocabulary's own pieces lead through many merges.
    generator = random.Random(7)
    lines = MERGES.read_text("utf-8").split("\n")[:-1]
    pieces = [line.replace(" ", "").replace("</w>", "") for line in lines]
    pieces = [piece for piece in pieces if piece.isascii()]
    words = ["".join(generator.choices(pieces, k=generator.randint(1, 6))) for _ in range(4000)]
    assert_same(native, reference, words)


@pytest.mark.parametrize("letters", ["a", "ab", "the", "é", "あ", "!", "\u0301\u0323"])
def test_very_long_words(native, reference, letters):
    assert_same(native, reference, [letters * (10_000 // len(letters))])


def test_decode_of_every_id(native, reference):
    # The reference strips white space around what it decodes.
    expected = [
        reference.backend_tokenizer.decode([i], skip_special_tokens=False) for i in range(49408)
    ]
    assert [native.decode(i).strip() for i in range(49408)] == expected


def test_decode_refuses_other_ids(native):
    for token in (-1, 49408):
        with pytest.raises(_native.Error, match=f"token id {token} does not exist"):
            native.decode(token)


@pytest.mark.parametrize("text", ["", "a cat", f"a {EOS} b", "cat " * 75])
def test_encode_prompt_is_the_padded_reference(native, reference, text):
    expected = reference(text, padding="max_length", max_length=77)["input_ids"]
    assert native.encode_prompt(text) == expected
    assert (native.bos, native.eos, native.max_positions) == (49406, 49407, 77)


def test_encode_prompt_names_a_long_prompt(native):
    with pytest.raises(
        _native.Error, match=r"prompt 'dog cat cat.*\.\.\.' is 76 tokens.*at most 75"
    ):
        native.encode_prompt("dog " + "cat " * 75)
    # The excerpt is cut between characters.
    with pytest.raises(_native.Error, match="prompt 'xéé+[.]{3}' is"):
        native.encode_prompt("x" + "é" * 400)


def test_split_and_single_words(native):
    assert native.split("wobbly teapot") == ["wo", "bbly", "teapot"]
    assert native.single_words_in("A wobbly Teapot, a 1 it's") == ["a", "teapot", "it"]
    assert native.single_token("wobbly") is None
    assert native.single_token(EOS) is None


def test_text_is_bounded_and_must_be_utf8(native):
    assert len(native.encode(" " * native.max_bytes)) == 0
    with pytest.raises(_native.Error, match="65537 bytes.*at most 65536"):
        native.encode("a" * (native.max_bytes + 1))
    with pytest.raises(_native.Error, match="byte 2 of 3 is not valid UTF-8"):
        native.encode(b"ab\xff")
