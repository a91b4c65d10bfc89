"""Caption files, and what is read from them: one table for the engine and the nodes."""

from __future__ import annotations

# Bytes of NAME.txt -> the caption; None for none.
CAPTIONS: dict[str, tuple[bytes, str | None]] = {
    "plain": (b"a photo of sks", "a photo of sks"),
    "byte order mark": (b"\xef\xbb\xbfsks on grass", "sks on grass"),
    "byte order mark alone": (b"\xef\xbb\xbf", None),
    "empty": (b"", None),
    "blanks": (b" \t\r\n\n", None),
    "no-break space": ("photo\u00a0sks".encode(), "photo sks"),
    "wide space": ("sks\u3000photo".encode(), "sks photo"),
    "lines": (b"a photo of sks\r\n on  grass\rat\nnoon\n", "a photo of sks on grass at noon"),
    "separators": ("a\u2028sks\x0bb\x1cc\x85d".encode(), "a sks b c d"),
    "zero byte": (b"a photo of sks on the grass\x00", "a photo of sks on the grass"),
    "curly apostrophe": ("sks\u2019s ball".encode(), "sks\u2019s ball"),
    "curly quotes": ("\u201csks\u201d".encode(), "\u201csks\u201d"),
    "em dash": ("dog\u2014sks".encode(), "dog\u2014sks"),
    "chinese": ("\u4e00\u53easks\u7684\u7167\u7247".encode(), "\u4e00\u53easks\u7684\u7167\u7247"),
    "emoji": ("sks\U0001f436".encode(), "sks\U0001f436"),
    "joined emoji": ("sks \U0001f469\u200d\U0001f680".encode(), "sks \U0001f469\u200d\U0001f680"),
    "zero width space": ("of\u200bsks".encode(), "of sks"),
    "invisible signs": (
        "\u200ea s\u00adofa, s\u2060ks sks\ufeff\u202c".encode(),
        "a sofa, sks sks",
    ),
    "braces": (b"a photo of {}", "a photo of {}"),
}

# Bytes of NAME.txt -> what the refusal says.
REFUSED: dict[str, tuple[bytes, str]] = {
    "utf-16": (
        "a photo of sks".encode("utf-16"),
        "is text in UTF-16 (little endian), not in UTF-8",
    ),
    "utf-16, big": (b"\xfe\xff" + "sks".encode("utf-16-be"), "in UTF-16 (big endian)"),
    "utf-16, no mark": ("a photo of sks".encode("utf-16-le"), "in UTF-16 (little endian)"),
    "utf-16, big, no mark": ("a photo of sks".encode("utf-16-be"), "in UTF-16 (big endian)"),
    "utf-32": ("sks".encode("utf-32"), "is text in UTF-32"),
    "windows-1252": (
        b"a photo of sks, the dog\x92s ball",
        "byte 23 (0x92) is not UTF-8; it is likely Windows-1252, where that byte is \u2019. Save "
        "it as UTF-8",
    ),
    "latin-1": (
        "caf\u00e9 sks".encode("latin-1"),
        "byte 3 (0xe9) is not UTF-8; it is likely Windows-1252 (or Latin-1), where that byte is "
        "\u00e9",
    ),
    "gbk": (
        "\u4e00\u53easks\u7684\u7167\u7247".encode("gbk"),
        "byte 7 (0xb5) is not UTF-8; it is likely of an older encoding such as GBK",
    ),
    "cyrillic": ("\u0444\u043e\u0442\u043e sks".encode("cp1251"), "of an older encoding such as"),
    "cut off": ("a photo of sks \u2019".encode()[:-1], "byte 15 (0xe2) is not UTF-8"),
}
