"""Captions as token ids (zoodip.graph.Text: one text for the text encoders, which read the same
ids), made by the tokenizer of the wired CLIP itself.

So a caption means in training what it means in a prompt: words that were applied before and
`embedding:` stay what they are. Only emphasis is not: brackets in captions are brackets.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from .captions import CaptionError
from .native import graph
from .token import MAX_VECTORS, Token
from .token_clip import apply_token, family_of, inner_tokenizers

POSITIONS = MAX_VECTORS + 2

# A word that nobody types, for a tokenizer that has to note missing embeddings and no more.
_NO_WORD = "zoodip-no-word"

# Vectors that stand for the word until its own exist. No real one is as far out.
_FAR = -(2.0**40)


@torch.inference_mode(False)
def prepare_captions(clip: Any, captions: Sequence[str], word: str, vectors: int = 1) -> list[Any]:
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
    marked, markers = _with_markers(clip, word, vectors)
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
def prepare_plain(clip: Any, text: str) -> Any:
    """A text without a new word, such as the empty prompt; `places` is empty.

    Raises CaptionError as `prepare_captions`.
    """
    noting, nothing = _with_markers(clip, _NO_WORD)
    return _prepare(noting, text, f"the text '{_short(text)}'", nothing)


@torch.inference_mode(False)
def initialiser(clip: Any, text: str) -> list[int] | dict[str, torch.Tensor]:
    """What the new word starts from: the ids of single-token words, with spaces or commas between,
    or, by text encoder, the float32 [count, width] vectors of embeddings and earlier words.

    Raises CaptionError for a word of several tokens, with its pieces, and for a mixture of both.
    """
    ids: list[int] = []
    vectors: list[Mapping[str, torch.Tensor]] = []
    for word in text.replace(",", " ").split():
        found = prepare_plain(clip, word)
        pieces = _pieces(found, clip)
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


def _with_markers(clip: Any, word: str, vectors: int = 1) -> tuple[Any, dict[str, torch.Tensor]]:
    """The CLIP with the word, and what stands for it: of each encoder [vectors, width]."""
    count = torch.arange(1.0, vectors + 1).unsqueeze(1)
    markers = {
        key: torch.full((1, inner.embedding_size), _FAR) * count
        for key, inner in _encoders(clip).items()
    }
    return apply_token(clip, Token(word, markers, {})), markers


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


def _prepare(clip: Any, text: str, source: str, markers: Mapping[str, torch.Tensor]) -> Any:
    """`clip` knows the word by `markers`; messages begin with `source`."""
    encoders = _encoders(clip)
    for inner in encoders.values():
        inner.zoodip_missing = []
    # Without emphasis: the host takes a bracket behind a backslash as it is.
    tokens = clip.tokenize(re.sub(r"[()]", r"\\\g<0>", text), return_word_ids=True)
    for inner in encoders.values():
        if inner.zoodip_missing:
            raise CaptionError(
                f"{source} names embedding:{inner.zoodip_missing[0]}, and there is no such "
                "embedding for all text encoders of this CLIP; check the name, or take it out"
            )
    read = {}
    for key, inner in encoders.items():
        short = key.removeprefix("clip_")  # as ComfyUI names tokens: "l" of clip_l
        chunks = tokens[short if short in tokens else key]
        read[key] = _read(chunks, source, key, markers[key], inner.end_token)
    first_key, first = next(iter(read.items()))
    for key, other in read.items():
        same = (first.places, first.fixed_positions) == (other.places, other.fixed_positions)
        if not same or not torch.equal(first.ids, other.ids):
            raise CaptionError(
                f"{source} is read as other tokens by {key} than by {first_key} of this CLIP; "
                "training needs text encoders that read the same"
            )
    fixed = {key: one.fixed_vectors[key] for key, one in read.items() if one.fixed_vectors}
    return replace(first, fixed_vectors=fixed)


def _read(chunks: Any, source: str, key: str, markers: torch.Tensor, end: int) -> Any:
    """What the text encoder of that key reads: ids, the places where the word's markers begin, and
    other vectors, told apart. Behind the end is filled up with it: the engine pads as each encoder
    does."""
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
            vectors.append(value.detach().to("cpu", torch.float32))
    fixed = {key: torch.stack(vectors)} if vectors else {}
    return graph().Text(ids, tuple(places), tuple(positions), fixed)


def _pieces(found: Any, clip: Any) -> list[str]:
    """The tokens of a text, as people read them."""
    inner = next(iter(_encoders(clip).values()))
    pieces = []
    for position, token in enumerate(found.ids[0].tolist()):
        if position in found.fixed_positions:
            pieces.append("a vector")
        elif position > 0 and token == inner.end_token:
            break  # the first one ends the text, the others pad
        elif position > 0:
            pieces.append(inner.tokenizer.decode([token]).strip())
    return pieces


def _several_pieces(clip: Any, word: str, pieces: list[str]) -> str:
    parts = dict.fromkeys(re.findall(r"[^\W\d_]+", word))
    singles = [part for part in parts if len(_pieces(prepare_plain(clip, part), clip)) == 1]
    advice = (
        f"single words in it: {', '.join(singles)}"
        if singles
        else "use a plainer word for the same kind of thing, for example dog, shoe, toy or person"
    )
    return (
        f"the initialiser's '{word}' is {len(pieces)} tokens ({', '.join(pieces)}), and each of "
        f"its words must be a single one; {advice}"
    )
