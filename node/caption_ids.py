"""Captions as token ids, made by the tokenizer of the wired CLIP itself.

So a caption means in training what it means in a prompt: words that were applied before and
`embedding:` stay what they are. Only emphasis is not: brackets in captions are brackets.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from .captions import CaptionError
from .native import graph
from .token import MAX_VECTORS, Token, check_word
from .token_clip import apply_token, family_of, inner_tokenizers

POSITIONS = MAX_VECTORS + 2

# A word that nobody types, for a tokenizer that has to note missing embeddings and no more.
_NO_WORD = "zoodip-no-word"

# Vectors that stand for the word until its own exist. No real one is as far out.
_FAR = -(2.0**40)


@dataclass(frozen=True, eq=False)
class CaptionIds:
    """One text for the text encoders, which read the same ids."""

    ids: torch.Tensor
    """int64 [1, 77] with start, end and padding; 0 where a vector goes."""
    places: tuple[int, ...]
    """The first position of each occurrence of the word; its vectors follow one another."""
    fixed_positions: tuple[int, ...]
    """Where the vectors of other embeddings and of earlier words go."""
    fixed_vectors: Mapping[str, torch.Tensor] = field(default_factory=dict)
    """By text encoder: float32 [len(fixed_positions), width]; empty when there are none."""


@torch.inference_mode(False)
def prepare_captions(
    clip: Any, captions: Sequence[str], word: str, vectors: int = 1
) -> list[CaptionIds]:
    """Training captions: "{}" stands for `word`, which may also be written out.

    Args:
        clip: of a family that can be trained, with what was applied to it.
        captions: one for each result.
        word: the new word, of `vectors` vectors.

    Raises:
        CaptionError: for a caption without the word, with more than 75 tokens, or with an
            embedding that does not exist or does not fit, and for a CLIP of another family.
        TokenError: for a bad word.
    """
    check_word(word)
    count = torch.arange(1.0, vectors + 1).unsqueeze(1)
    markers = {key: torch.full((1, width), _FAR) * count for key, width in _widths(clip).items()}
    marked = apply_token(clip, Token(word, markers, {}))
    prepared = []
    for caption in captions:
        source = f"the caption '{_short(caption)}'"
        found = _prepare(marked, caption.replace("{}", f" {word} "), source, markers)
        if not found.places:
            raise CaptionError(
                f"{source} does not contain the word: put {{}} (or '{word}') where the subject is "
                "named"
            )
        prepared.append(found)
    return prepared


@torch.inference_mode(False)
def prepare_plain(clip: Any, text: str) -> CaptionIds:
    """A text without a new word, such as the empty prompt; `places` is empty.

    Raises CaptionError as `prepare_captions`.
    """
    nothing = {key: torch.full((1, width), _FAR) for key, width in _widths(clip).items()}
    noting = apply_token(clip, Token(_NO_WORD, nothing, {}))
    return _prepare(noting, text, f"the text '{_short(text)}'", nothing)


@torch.inference_mode(False)
def initialiser(clip: Any, text: str) -> list[int] | dict[str, torch.Tensor]:
    """What the new word starts from: the ids of single-token words, with spaces or commas between,
    or, by text encoder, the float32 [count, width] vectors of embeddings and earlier words.

    Raises CaptionError for a word of several tokens, with its pieces, and for a mixture of both.
    """
    inner = _first_tokenizer(clip)
    ids: list[int] = []
    vectors: list[Mapping[str, torch.Tensor]] = []
    for word in text.replace(",", " ").split():
        found = prepare_plain(clip, word)
        pieces = _pieces(found, inner)
        if found.fixed_vectors and len(pieces) == len(found.fixed_positions):
            vectors.append(found.fixed_vectors)
        elif len(pieces) == 1:
            ids.append(int(found.ids[0, 1]))
        else:
            raise CaptionError(_several_pieces(clip, word, pieces))
    if ids and vectors:
        raise CaptionError(
            f"the initialiser '{text}' has learned words beside plain ones; use either those or "
            "these"
        )
    if not ids and not vectors:
        raise CaptionError(
            "the initialiser needs a word that says what the subject is, for example dog; got "
            f"'{text}'"
        )
    if not vectors:
        return ids
    return {key: torch.cat([one[key] for one in vectors]) for key in vectors[0]}


def _encoders(clip: Any) -> dict[str, Any]:
    """The CLIP's tokenizers by text encoder, in the order of its family."""
    there = inner_tokenizers(clip)
    family = graph().family_with(there)
    if family is not None:
        return {encoder.key: there[encoder.key] for encoder in family.encoders}
    names = ", ".join(family.name for family in reversed(graph().families()))
    raise CaptionError(
        f"this CLIP is that of {family_of(clip)} ({' and '.join(sorted(there))}); training needs "
        f"one of {names}"
    )


def _first_tokenizer(clip: Any) -> Any:
    return next(iter(_encoders(clip).values()))


def _widths(clip: Any) -> dict[str, int]:
    return {key: inner.embedding_size for key, inner in _encoders(clip).items()}


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


def _escaped(text: str) -> str:
    """`text` without emphasis: the host takes a bracket behind a backslash as it is."""
    return re.sub(r"[()]", r"\\\g<0>", text)


def _prepare(clip: Any, text: str, source: str, markers: Mapping[str, torch.Tensor]) -> CaptionIds:
    """`clip` knows the word by `markers`, of each encoder [vectors, width]; messages begin with
    `source`."""
    encoders = _encoders(clip)
    for inner in encoders.values():
        inner.zoodip_missing = []
    tokens = clip.tokenize(_escaped(text), return_word_ids=True)
    for inner in encoders.values():
        if inner.zoodip_missing:
            raise CaptionError(
                f"{source} names embedding:{inner.zoodip_missing[0]}, and there is no such "
                "embedding for all text encoders of this CLIP; check the name, or take it out"
            )
    read = [
        _read(tokens[_short_key(key, tokens)], source, markers[key], inner)
        for key, inner in encoders.items()
    ]
    first = read[0]
    for key, other in zip(encoders, read, strict=True):
        same = (first.places, first.fixed_positions) == (other.places, other.fixed_positions)
        if not same or not torch.equal(first.ids, other.ids):
            raise CaptionError(
                f"{source} is read as other tokens by {key} than by {next(iter(encoders))} of this "
                "CLIP; training needs text encoders that read the same"
            )
    fixed = {
        key: one.vectors for key, one in zip(encoders, read, strict=True) if one.vectors is not None
    }
    return CaptionIds(first.ids, first.places, first.fixed_positions, fixed)


def _short_key(key: str, tokens: Mapping[str, Any]) -> str:
    """As ComfyUI names an encoder's tokens: "l" of clip_l."""
    short = key.removeprefix("clip_")
    return short if short in tokens else key


@dataclass(frozen=True, eq=False)
class _Read:
    """What one text encoder reads."""

    ids: torch.Tensor
    """int64 [1, 77], filled up with the end of text."""
    places: tuple[int, ...]
    fixed_positions: tuple[int, ...]
    vectors: torch.Tensor | None


def _read(chunks: Any, source: str, markers: torch.Tensor, inner: Any) -> _Read:
    # 0 is the word id of start, end and padding.
    count = sum(word_id != 0 for chunk in chunks for _, _, word_id in chunk)
    if count > MAX_VECTORS:
        raise CaptionError(
            f"{source} has {count} tokens, and the text encoder reads {MAX_VECTORS} at once; "
            "shorten it"
        )
    entries = [value for value, _, _ in chunks[0]]
    if len(entries) != POSITIONS:
        raise CaptionError(
            f"this CLIP reads {len(entries)} tokens at once; training needs one that reads "
            f"{POSITIONS}, as those of Stable Diffusion do"
        )
    return _placed(entries, source, markers, inner.end_token)


def _placed(entries: Sequence[Any], source: str, markers: torch.Tensor, end: int) -> _Read:
    """Tells ids, the word's markers and other vectors apart. What stands behind the end is filled
    up with it: the engine pads as each encoder does."""
    ids = torch.zeros(1, len(entries), dtype=torch.int64)
    places, positions, vectors = [], [], []
    ended = False
    for position, value in enumerate(entries):
        if not torch.is_tensor(value):
            ids[0, position] = end if ended else int(value)
            ended = ended or int(value) == end
        elif value.shape != markers.shape[1:]:
            raise CaptionError(
                f"{source} names an embedding of {value.shape[-1]} numbers, and this CLIP takes "
                f"{markers.shape[1]}; use one that was made for this model family"
            )
        elif torch.equal(value, markers[0]):
            places.append(position)
        elif float(value[0]) > _FAR:
            positions.append(position)
            vectors.append(value)
    fixed = torch.stack([v.detach().to("cpu", torch.float32) for v in vectors]) if vectors else None
    return _Read(ids, tuple(places), tuple(positions), fixed)


def _pieces(found: CaptionIds, inner: Any) -> list[str]:
    """The tokens of a text, as people read them."""
    pieces = []
    for position, token in enumerate(found.ids[0].tolist()):
        if position in found.fixed_positions:
            pieces.append("a vector")
        elif position > 0 and token == inner.end_token:
            break  # the first one ends the text, the others pad
        elif position > 0:
            pieces.append(_readable(inner, token))
    return pieces


def _readable(inner: Any, token: int) -> str:
    return inner.tokenizer.decode([token]).strip()


def _several_pieces(clip: Any, word: str, pieces: list[str]) -> str:
    parts = dict.fromkeys(re.findall(r"[^\W\d_]+", word))
    inner = _first_tokenizer(clip)
    singles = [part for part in parts if len(_pieces(prepare_plain(clip, part), inner)) == 1]
    advice = (
        f"single words in it: {', '.join(singles)}"
        if singles
        else "use a plainer word for the same kind of thing, for example dog, shoe, toy or person"
    )
    return (
        f"the initialiser's '{word}' is {len(pieces)} tokens ({', '.join(pieces)}), and each of "
        f"its words must be a single one; {advice}"
    )
