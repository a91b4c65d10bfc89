"""Where words stand in texts: the engine and the nodes find the same."""

from __future__ import annotations

import sys
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from word_cases import CASES
from zoodip import _native

from node.word_edges import find_words, word_neighbour


def by_engine(text: str, words: list[str]) -> list[tuple[str, int, int]]:
    def characters(at: int) -> int:
        return len(text.encode()[:at].decode())

    return [(w, characters(b), characters(e)) for w, b, e in _native.find_words(text, words)]


def by_nodes(text: str, words: list[str]) -> list[tuple[str, int, int]]:
    return list(find_words(text, words))


@pytest.mark.parametrize(("text", "words", "expected"), CASES, ids=[ascii(c[0]) for c in CASES])
def test_words_are_found(text, words, expected):
    assert by_engine(text, words) == expected
    assert by_nodes(text, words) == expected


PARTS = st.sampled_from(
    ["sks", "SKS", "sks-2", "a", " ", ".", "-", "_", "7", "\u00e9", "\u0301", "\u200b", "\u200d"]
    + ["\ufe0f", "\u4e00", "\uac00", "\u0e17", "\u0e48", "\U0001f436", "\u2019", "\u00ad", "\u0416"]
)


@settings(max_examples=500, deadline=None)
@given(st.lists(PARTS | st.characters(exclude_categories=["Cs"]), max_size=12).map("".join))
def test_both_find_the_same(text):
    words = ["sks", "sks-2", "a"]
    assert by_engine(text, words) == by_nodes(text, words)


def test_every_character_is_the_same_to_both():
    """But for those that one of the two Unicode tables does not know yet, or knows otherwise."""
    different = [
        point
        for point in range(sys.maxunicode + 1)
        if not 0xD800 <= point < 0xE000
        and _native.unicode_category(point) == unicodedata.category(chr(point))
        and _native.word_neighbour(point) != word_neighbour(chr(point))
    ]
    assert different == []


def test_a_text_of_invisible_signs_takes_no_time():
    text = "sks\u200d" * 10_000 + "\u200d" * 60_000 + "sks"
    assert by_nodes(text, ["sks"]) == []
    assert _native.find_words(text, ["sks"]) == []
