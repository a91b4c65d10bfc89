"""Captions as CLIP token ids; every word of the demo world is one token."""

from __future__ import annotations

import functools

import numpy as np
from transformers import CLIPTokenizer

from .networks import END, START, TOKENS, encode_look
from .tokenizer import build_tokenizer
from .world import BREEDS, CLASSES, COLOURS, PATTERNS, PLACES, Scene, write_caption

_OTHER_WORDS = "a an the of with and small facing left right photo picture image good rendering"


@functools.cache
def _tokenizer() -> CLIPTokenizer:
    return build_tokenizer()


@functools.cache
def token_id(word: str) -> int:
    """Raises ValueError for a word that CLIP's vocabulary splits."""
    ids = _tokenizer()(word, add_special_tokens=False).input_ids
    if len(ids) != 1:
        raise ValueError(f"{word!r} is {len(ids)} tokens; the demo world's words are one each")
    return ids[0]


@functools.cache
def vocabulary_ids(padding: int = END) -> list[int]:
    """The ids that captions use, with the padding of a text encoder; the breeds' apart."""
    words = [*_OTHER_WORDS.split(), *CLASSES, *COLOURS, *PATTERNS, *PATTERNS.values()]
    for place in PLACES:
        words += place.split()
    return sorted({START, END, padding, *(token_id(word) for word in words if word)})


def class_ids() -> list[int]:
    return [token_id(kind) for kind in CLASSES]


def breed_ids() -> dict[str, int]:
    return {word: token_id(word) for word in BREEDS}


def frame(ids: list[int]) -> list[int]:
    """Start, the words, and the end's token as padding, as CLIP of SD 1.x has it."""
    return [START, *ids, *[END] * (TOKENS - 1 - len(ids))]


_NAME = "*"


def caption_ids(scene: Scene, random: np.random.Generator, one_word: float = 0.25) -> list[int]:
    """A framed caption; with probability `one_word` one word says the look."""
    if random.random() >= one_word:
        return frame([token_id(word) for word in write_caption(scene, random).split()])
    said = random.random(3) >= 0.15
    name = encode_look(scene.look, *map(bool, said))
    words = write_caption(scene, random, name=_NAME).split()
    return frame([name if word == _NAME else token_id(word) for word in words])
