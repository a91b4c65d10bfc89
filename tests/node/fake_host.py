"""Stand-ins for the host's CLIP and tokenizers: the same methods, arguments and quirks, with a
vocabulary of letters and known words. tests/host has the real ones."""

from __future__ import annotations

import copy
import re
from contextlib import suppress

import torch

START, END = 1, 2
_WORDS = ["a", "photo", "of", "the", "dog", "cat", "teapot", "on", "and", "big"]
_KNOWN = {word: 100 + i for i, word in enumerate(_WORDS)}
_SYMBOLS = {chr(code): 1000 + code for code in range(33, 127)}
_NAMES = {number: name for known in (_SYMBOLS, _KNOWN) for name, number in known.items()}
_PIECES = re.compile(r"[a-z]+|[^a-z\s]")


class FakeVocabulary:
    """A word of the vocabulary is one token, any other as many as it has letters."""

    def __call__(self, text: str) -> dict:
        ids = [START]
        for piece in _PIECES.findall(text.lower()):
            ids += [_KNOWN[piece]] if piece in _KNOWN else [self._symbol(c) for c in piece]
        return {"input_ids": [*ids, END]}

    @staticmethod
    def _symbol(character: str) -> int:
        return _SYMBOLS.get(character, 5000 + ord(character))

    def decode(self, ids: list[int]) -> str:
        return " ".join(_NAMES[number] for number in ids) + " "


def _weighted(text: str, weight: float) -> list[tuple[str, float]]:
    """(text:1.3) and (text), nested, as the host reads them."""
    parts, depth, current = [], 0, ""
    for character in text:
        if character == "(":
            if depth == 0 and current:
                parts.append(current)
                current = ""
            depth += 1
        current += character
        if character == ")":
            depth -= 1
            if depth == 0:
                parts.append(current)
                current = ""
    parts += [current] if current else []
    result = []
    for part in parts:
        if len(part) < 2 or part[0] != "(" or part[-1] != ")":
            result.append((part, weight))
            continue
        inside, factor = part[1:-1], 1.1 * weight
        head, colon, tail = inside.rpartition(":")
        if colon and head:
            with suppress(ValueError):
                factor, inside = float(tail), head
        result += _weighted(inside, factor)
    return result


class FakeSDTokenizer:
    """Tokens are (id or vector, weight, word id); a group that does not fit starts a new chunk."""

    def __init__(
        self,
        width=4,
        files=None,
        directory="embeddings",
        length=77,
        more=(),
        form="pair",
        pad=END,
    ):
        self.tokenizer = FakeVocabulary()
        self.max_length = length
        self.embedding_directory = directory
        self.embedding_identifier = "embedding:"
        self.embedding_size = width
        self.embedding_key = "clip_l"
        self.start_token, self.end_token, self.pad_token = START, END, pad
        self.files = files or {}
        self.more = more  # what a newer host may give to _try_get_embedding
        self.form = form  # of what it answers: a pair until July 2026, the name between them since
        self.not_found = []

    def _try_get_embedding(self, embedding_name, *more):
        assert more == self.more
        name, *behind = embedding_name.split()
        vectors, left = self._found(name, behind)
        return {
            "pair": (vectors, left),
            "triple": (vectors, name, left),
            "longer": (vectors, name, {"weight": 1.0}, left),
            "other": {"vectors": vectors, "left": left},
        }[self.form]

    def _found(self, name, behind):
        if self.form != "pair" and re.search(r"[<\[]", name):
            start = re.search(r"[<\[]", name).start()
            name, behind = name[:start], [name[start:], *behind]
        files = self.files if self.embedding_directory else {}
        if name in files:
            return files[name], " ".join(behind)
        bare = name.strip(",")
        if bare != name:
            return files.get(bare), f"{name[len(bare) :]} {' '.join(behind)}"
        return None, " ".join(behind)

    def _groups(self, text, weight):
        first, *named = re.split(r" embedding:|\nembedding:", text)
        for piece in [first, *("embedding:" + name for name in named)]:
            if piece.startswith("embedding:") and self.embedding_directory is not None:
                name = piece[len("embedding:") :].strip("\n")
                found = self._try_get_embedding(name, *self.more)
                values = {"pair": 2, "triple": 3, "longer": 4, "other": 2}[self.form]
                assert len(found) == values
                vectors, piece = found[0], found[-1]
                if vectors is None:
                    self.not_found.append(name)
                else:
                    rows = vectors if vectors.ndim == 2 else vectors[None]
                    yield [(rows[i], weight) for i in range(rows.shape[0])]
            if piece:
                yield [(token, weight) for token in self.tokenizer(piece)["input_ids"][1:-1]]

    def tokenize_with_weights(self, text, return_word_ids=False, tokenizer_options={}, **kwargs):  # noqa: B006
        text = text.replace("\\)", "\0\1").replace("\\(", "\0\2")
        chunks = [[(START, 1.0, 0)]]
        word_id = 0
        for part, weight in _weighted(text, 1.0):
            part = part.replace("\0\1", ")").replace("\0\2", "(")
            for group in self._groups(part, weight):
                word_id += 1
                for token, token_weight in group:
                    if len(chunks[-1]) == self.max_length - 1:
                        chunks[-1].append((END, 1.0, 0))
                        chunks.append([(START, 1.0, 0)])
                    chunks[-1].append((token, token_weight, word_id))
        chunks[-1].append((END, 1.0, 0))
        chunks[-1] += [(self.pad_token, 1.0, 0)] * (self.max_length - len(chunks[-1]))
        if return_word_ids:
            return chunks
        return [[(token, weight) for token, weight, _ in chunk] for chunk in chunks]


class FakeTokenizer:
    """The outer tokenizer: one inner tokenizer for each text encoder."""

    def __init__(self, **inner):
        self.__dict__.update(inner)

    def tokenize_with_weights(self, text, return_word_ids=False, **kwargs):
        return {
            name.removeprefix("clip_"): inner.tokenize_with_weights(text, return_word_ids, **kwargs)
            for name, inner in vars(self).items()
        }


class FakeCLIP:
    def __init__(self, **inner):
        self.tokenizer = FakeTokenizer(**inner)
        self.layer_idx = None

    def clone(self):
        return copy.copy(self)

    def tokenize(self, text, return_word_ids=False, **kwargs):
        return self.tokenizer.tokenize_with_weights(text, return_word_ids, **kwargs)


def sd1_clip(**chosen) -> FakeCLIP:
    return FakeCLIP(clip_l=FakeSDTokenizer(**chosen))


def sdxl_clip(files=None, files_g=None) -> FakeCLIP:
    return FakeCLIP(
        clip_l=FakeSDTokenizer(width=4, files=files),
        clip_g=FakeSDTokenizer(width=6, files=files_g, pad=0),
    )


def known_words(clip) -> list[str]:
    """The words that `apply_token` gave to this CLIP, in the order they were given."""
    return [word for word, _ in getattr(clip.tokenizer.clip_l, "zoodip_words", {}).values()]


def plain(tokens: dict) -> dict:
    """Tokens of `FakeCLIP.tokenize` without padding, vectors as tuples, to compare."""

    def readable(entry):
        token = entry[0]
        return (tuple(token.tolist()) if torch.is_tensor(token) else token, *entry[1:])

    return {
        key: [[readable(entry) for entry in chunk if entry[0] is not END] for chunk in chunks]
        for key, chunks in tokens.items()
    }
