"""Where a learned word stands in a text: whole, and not as a part of a longer word.

The engine's rule (native/nn/word_edges.h) over again, for the nodes that work without it; one table
of cases holds both.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator

LETTER, MARK, INVISIBLE, OTHER = "letter", "mark", "invisible", "other"

_KINDS = dict.fromkeys(("Lu", "Ll", "Lt", "Lm", "Lo", "Nd", "Nl", "Pc"), LETTER)
_KINDS |= {"Mn": MARK, "Mc": MARK, "Cf": INVISIBLE}

_VARIATION_SELECTORS = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef\u180b-\u180d\u180f\u034f]")

# Blocks of the scripts whose letters are an edge beside a word, as in native/nn/word_edges.cpp.
_UNSPACED = re.compile(
    "[\u0e00-\u0fff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aaf\u2e80-\ua4cf"
    "\ua960-\ua97f\ua9e0-\ua9ff\uaa60-\uaadf\uac00-\ud7ff\uf900-\ufaff\uff65-\uffdc"
    "\U000116d0-\U000116ff\U00011f00-\U00011f5f\U00016fe0-\U00018dff\U0001aff0-\U0001b2ff"
    "\U00020000-\U0003ffff]"
)


def word_neighbour(character: str) -> str:
    """What a character beside a word is to it: LETTER makes it longer, MARK belongs to the letter
    before it, INVISIBLE is as if it were not there, and OTHER is an edge.
    """
    if _VARIATION_SELECTORS.match(character):
        return INVISIBLE
    kind = _KINDS.get(unicodedata.category(character), OTHER)
    if character == "\u200b" or (kind == LETTER and _UNSPACED.match(character)):
        return OTHER
    return kind


def find_words(text: str, words: Iterable[str]) -> Iterator[tuple[str, int, int]]:
    """Every whole occurrence of each word, from left to right, as word, start and end: ASCII
    letters in any case, the longest word where several begin at one place. Words are ASCII and not
    empty.
    """
    longest_first = sorted(words, key=len, reverse=True)
    if not longest_first:
        return
    any_case = re.ASCII | re.IGNORECASE
    patterns = {word: re.compile(re.escape(word), any_case) for word in longest_first}
    anywhere = re.compile("|".join(map(re.escape, longest_first)), any_case)
    at = 0
    while (candidate := anywhere.search(text, at)) is not None:
        at = candidate.start()
        for word, pattern in patterns.items():
            match = pattern.match(text, at)
            if match and _begins(text, at) and _ends(text, match.end()):
                yield word, at, match.end()
                at = match.end()
                break
        else:
            at += 1


def _begins(text: str, start: int) -> bool:
    kinds = (word_neighbour(text[at]) for at in range(start - 1, -1, -1))
    return next((kind == OTHER for kind in kinds if kind in (LETTER, OTHER)), True)


def _ends(text: str, end: int) -> bool:
    kinds = (word_neighbour(text[at]) for at in range(end, len(text)))
    return next((kind == OTHER for kind in kinds if kind != INVISIBLE), True)
