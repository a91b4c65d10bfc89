"""Texts, and where the words in them stand: one table for the engine and for the nodes."""

from __future__ import annotations

# (text, words, what is found as (word, start, end) in characters)
CASES: list[tuple[str, list[str], list[tuple[str, int, int]]]] = [
    ("a photo of sks", ["sks"], [("sks", 11, 14)]),
    ("SKS on Sks", ["sks"], [("sks", 0, 3), ("sks", 7, 10)]),
    ("sks", ["SKS"], [("SKS", 0, 3)]),
    ("skss asks sks_ _sks sks1 1sks", ["sks"], []),
    ("sks,sks", ["sks"], [("sks", 0, 3), ("sks", 4, 7)]),
    ("skssks", ["sks"], []),
    (
        "sks-like (sks) sks. sks's",
        ["sks"],
        [("sks", i, i + 3) for i in (0, 10, 15, 20)],
    ),
    ("sks-v2 sks-v3", ["sks", "sks-v2"], [("sks-v2", 0, 6), ("sks", 7, 10)]),
    ("sks.bc", ["sks", "sks.b"], [("sks", 0, 3)]),
    ("", ["sks"], []),
    ("sks", [], []),
    # Quotes, dashes and spaces of word processors
    ("sks\u2019s ball", ["sks"], [("sks", 0, 3)]),
    (
        "\u2018sks\u2019 \u201csks\u201d \u00absks\u00bb",
        ["sks"],
        [("sks", 1, 4), ("sks", 7, 10), ("sks", 13, 16)],
    ),
    ("dog\u2014sks\u2013dog\u2026sks", ["sks"], [("sks", 4, 7), ("sks", 12, 15)]),
    (
        "photo\u00a0sks\u3000sks\u2009sks\u2028sks\x85sks",
        ["sks"],
        [("sks", 6 + 4 * i, 9 + 4 * i) for i in range(5)],
    ),
    # Emoji, and what they are made of
    ("sks\U0001f436", ["sks"], [("sks", 0, 3)]),
    ("\u2764\ufe0fsks", ["sks"], [("sks", 2, 5)]),
    ("1\ufe0f\u20e3sks", ["sks"], [("sks", 3, 6)]),
    ("\U0001f44d\U0001f3fdsks\U0001f1e9\U0001f1ea", ["sks"], [("sks", 2, 5)]),
    ("\u2460sks", ["sks"], [("sks", 1, 4)]),
    ("sks\u00b2 \u00bdsks", ["sks"], [("sks", 0, 3), ("sks", 6, 9)]),
    # Scripts without spaces, or with endings that join foreign words
    ("\u4e00\u53easks\u7684\u7167\u7247", ["sks"], [("sks", 2, 5)]),
    ("\u7167\u7247\uff0csks", ["sks"], [("sks", 3, 6)]),
    ("sks\u306e\u5199\u771f\u3001\u30c9\u30c3\u30b0sks", ["sks"], [("sks", 0, 3), ("sks", 10, 13)]),
    ("sks\uc758 \uc0ac\uc9c4", ["sks"], [("sks", 0, 3)]),
    ("\u0e17\u0e35\u0e48sks", ["sks"], [("sks", 3, 6)]),
    ("\uff76\uff9esks", ["sks"], [("sks", 2, 5)]),
    ("\U00020000sks\u3007\u3005", ["sks"], [("sks", 1, 4)]),
    # Letters of other scripts make a word longer
    ("\u00e9sks sks\u00e9 e\u0301sks sks\u0301", ["sks"], []),
    ("sks\u0430\u043c\u0438 \u03c0sks \u0623sks sks\u0915\u093e", ["sks"], []),
    ("\uff53\uff4b\uff53 sks\uff53 \uff3fsks sks\u0663 \u2167sks", ["sks"], []),
    ("\u212a k", ["k"], [("k", 2, 3)]),  # the Kelvin sign
    ("\u017fk\u017f", ["sks"], []),
    # Invisible signs: as if they were not there, but for the zero width space
    ("of \u200bsks", ["sks"], [("sks", 4, 7)]),
    ("dog\u200bsks\u200bdog", ["sks"], [("sks", 4, 7)]),
    ("\ufeffsks\ufeff", ["sks"], [("sks", 1, 4)]),
    ("dog\u200csks sks\u200ddog dog\u00adsks sks\u2060dog", ["sks"], []),
    ("\u202asks\u202c \u200esks\u200f", ["sks"], [("sks", 1, 4), ("sks", 7, 10)]),
    ("sks\ufe0f sks\ufe0f\u0301", ["sks"], [("sks", 0, 3)]),
    ("\u0301sks", ["sks"], [("sks", 1, 4)]),
    ("\u3042\u0301\u200dsks", ["sks"], [("sks", 3, 6)]),
]
