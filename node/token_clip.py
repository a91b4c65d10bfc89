"""A CLIP that knows words: the host's own, with a copied tokenizer that has vectors in memory.

The tokenizer is carried on by `CLIP.clone`, so LoRA, clip skip and further words keep the word.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch

from .token import Token, TokenError
from .word_edges import find_words

# What the host reads as an embedding, up to a space, a bracket or a weight. A name may follow a
# space; words in it are left alone.
_EMBEDDING = r"embedding:\s*(?:\\[()]|[^\s():])*"

_FAMILIES = {
    ("clip_l",): "Stable Diffusion 1.x",
    ("clip_h",): "Stable Diffusion 2.x",
    ("clip_g",): "the SDXL refiner or Stable Cascade",
    ("clip_g", "clip_l"): "SDXL",
    ("clip_g", "clip_l", "t5xxl"): "Stable Diffusion 3",
    ("clip_l", "t5xxl"): "Flux",
}


def apply_token(clip: Any, token: Token) -> Any:
    """A copy of `clip` in which `token.word`, in any case and not inside a longer word, and
    `embedding:word` stand for the token's vectors. `clip` itself is not changed.

    Raises TokenError when the encoders or widths of the two differ.
    """
    encoders = inner_tokenizers(clip)
    _check_fit(encoders, token)
    out = clip.clone()
    out.tokenizer = copy.copy(clip.tokenizer)
    for name, tokenizer in encoders.items():
        setattr(out.tokenizer, name, _with_word(tokenizer, token.word, token.vectors[name]))
    return out


def inner_tokenizers(clip: Any) -> dict[str, Any]:
    """The host's tokenizers in a CLIP, one for each text encoder: "clip_l" -> SDTokenizer.

    Raises TokenError for a CLIP that has none.
    """
    tokenizer = getattr(clip, "tokenizer", None)
    found = {
        name: inner
        for name, inner in getattr(tokenizer, "__dict__", {}).items()
        if hasattr(inner, "_try_get_embedding") and hasattr(inner, "embedding_size")
    }
    if not found:
        raise TokenError(
            "this CLIP has no tokenizer that takes embeddings; wire the CLIP of a Stable Diffusion "
            "checkpoint"
        )
    return found


def family_of(clip: Any) -> str:
    """The model family that the text encoders of `clip` belong to, for messages."""
    names = sorted(inner_tokenizers(clip))
    return _FAMILIES.get(tuple(names), f"a model with {' and '.join(names)}")


def _check_fit(encoders: Mapping[str, Any], token: Token) -> None:
    if encoders.keys() != token.vectors.keys():
        has, needed = (" and ".join(sorted(names)) for names in (encoders, token.vectors))
        raise TokenError(
            f"this CLIP has {has}; the token '{token.word}' is for {needed}. Use a token that was "
            "made for this model family"
        )
    for name, tokenizer in encoders.items():
        width = token.vectors[name].shape[1]
        if width != tokenizer.embedding_size:
            raise TokenError(
                f"{name} of this CLIP takes vectors of {tokenizer.embedding_size} numbers; those "
                f"of the token '{token.word}' have {width}. Use a token that was made for this "
                "model family"
            )


def _with_word(tokenizer: Any, word: str, vectors: torch.Tensor) -> Any:
    out = copy.copy(tokenizer)
    if isinstance(tokenizer, _KnowsWords):
        known = tokenizer.zoodip_words
    else:
        known = {}
        out.__class__ = _knowing(type(tokenizer))
        out.zoodip_missing = None
        out.zoodip_no_files = tokenizer.embedding_directory is None
        if out.zoodip_no_files:
            # With None the host never asks for an embedding.
            out.embedding_directory = []
    # A new dictionary: the other CLIP keeps its own.
    out.zoodip_words = {**known, word.lower(): (word, vectors)}
    return out


@cache
def _knowing(tokenizer_class: type) -> type:
    return type(f"Words{tokenizer_class.__name__}", (_KnowsWords, tokenizer_class), {})


class _KnowsWords:
    """Mixed into the host's SDTokenizer: looks words up in memory before files."""

    zoodip_words: dict[str, tuple[str, torch.Tensor]]
    """Word in lower case -> the word and its vectors [vectors, width]. Never changed in place."""
    zoodip_no_files: bool
    """The host read no embeddings: "embedding:" of an unknown name is plain text."""
    zoodip_missing: list[str] | None
    """Where names that were not found are noted, if anywhere."""

    def tokenize_with_weights(self, text: str, *rest: Any, **named: Any) -> Any:
        return super().tokenize_with_weights(self._name_words(text), *rest, **named)

    def _name_words(self, text: str) -> str:
        """`text` with " embedding:word " for every known word."""
        kept = [match.span() for match in re.finditer(_EMBEDDING, text)]
        parts, behind = [], 0
        for key, at, end in find_words(text, self.zoodip_words):
            if any(first <= at < last for first, last in kept):
                continue
            word, _ = self.zoodip_words[key]
            parts += [text[behind:at], f" embedding:{word} "]
            behind = end
        return "".join([*parts, text[behind:]])

    def _try_get_embedding(self, embedding_name: str, *more: Any, **named: Any) -> Any:
        """What the host's method of this name returns: the vectors of a name or None, and text.

        How many values that are, and what newer hosts give and return besides, is theirs alone.
        """
        name, *_ = embedding_name.split() or [""]
        # Of some name, for the host's method fails without one.
        bare = self._ask_without_files(embedding_name if name else "x", *more, **named)
        vectors = self._vectors_of(name, left=bare[-1])
        if vectors is not None:
            return _with_vectors(bare, vectors)
        if self.zoodip_no_files:
            # No vectors, and all of it is text.
            text = self.embedding_identifier + embedding_name
            return (*_with_vectors(bare, torch.empty(0, self.embedding_size))[:-1], text)
        found = super()._try_get_embedding(embedding_name, *more, **named)
        if self.zoodip_missing is not None and _missing(found):
            self.zoodip_missing.append(name)
        return found

    def _vectors_of(self, name: str, left: str) -> torch.Tensor | None:
        """left: the text that the host leaves behind a name; newer ones end a name at "<" and "["
        too."""
        ends = (len(name), len(name.rstrip(",")), len(re.split(r"[<\[]", name)[0]))
        for end in ends:
            known = self.zoodip_words.get(name[:end].lower())
            if known is not None and "".join(left.split()).startswith(name[end:]):
                return known[1]
        return None

    def _ask_without_files(self, *given: Any, **named: Any) -> tuple:
        """What the host's method returns where there is no file."""
        bare = copy.copy(self)
        bare.embedding_directory = []
        found = super(_KnowsWords, bare)._try_get_embedding(*given, **named)
        if not isinstance(found, tuple) or not _missing(found) or not isinstance(found[-1], str):
            raise TokenError(
                f"ComfyUI's SDTokenizer._try_get_embedding returned {found!r} for want of a file, "
                "which this version of ComfyUI-ZOODiP does not know: update ComfyUI-ZOODiP"
            )
        return found


def _missing(found: tuple) -> bool:
    """Whether the host has found no vectors."""
    return any(value is None for value in found)


def _with_vectors(found: tuple, vectors: torch.Tensor) -> tuple:
    """What the host returned for want of a file, with vectors in the place of None."""
    place = found.index(None)
    return (*found[:place], vectors, *found[place + 1 :])
