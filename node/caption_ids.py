"""Captions as token ids, made by the tokenizer of the wired CLIP itself.

So a caption means in training what it means in a prompt: words that were applied before and
`embedding:` stay what they are. Only emphasis is not: brackets in captions are brackets.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from .captions import CaptionError
from .token import MAX_VECTORS, Token, check_word
from .token_clip import apply_token, family_of, inner_tokenizers

ENCODER = "clip_l"
POSITIONS = MAX_VECTORS + 2

# A word that nobody types, for a tokenizer that has to note missing embeddings and no more.
_NO_WORD = "zoodip-no-word"

# Vectors that stand for the word until its own exist. No real one is as far out.
_FAR = -(2.0**40)


@dataclass(frozen=True, eq=False)
class CaptionIds:
    """One text for the text encoder."""

    ids: torch.Tensor
    """int64 [1, 77] with start, end and padding; 0 where a vector goes."""
    places: tuple[int, ...]
    """The first position of each occurrence of the word; its vectors follow one another."""
    fixed_positions: tuple[int, ...]
    """Where the vectors of other embeddings and of earlier words go."""
    fixed_vectors: torch.Tensor | None
    """float32 [len(fixed_positions), width], None when there are none."""


@torch.inference_mode(False)
def prepare_captions(
    clip: Any, captions: Sequence[str], word: str, vectors: int = 1, width: int | None = None
) -> list[CaptionIds]:
    """Training captions: "{}" stands for `word`, which may also be written out.

    Args:
        clip: of the Stable Diffusion 1.x family, with what was applied to it.
        captions: one for each result.
        word: the new word, of `vectors` vectors.
        width: of a vector; None for that of the CLIP.

    Raises:
        CaptionError: for a caption without the word, with more than 75 tokens, or with an
            embedding that does not exist or does not fit, and for a CLIP of another family.
        TokenError: for a bad word, or a width that is not that of the CLIP.
    """
    check_word(word)
    text_width = _text_width(clip)
    width = text_width if width is None else width
    markers = torch.full((vectors, width), _FAR) * torch.arange(1.0, vectors + 1).unsqueeze(1)
    marked = apply_token(clip, Token(word, {ENCODER: markers}, {}))
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
    nothing = torch.full((1, _text_width(clip)), _FAR)
    noting = apply_token(clip, Token(_NO_WORD, {ENCODER: nothing}, {}))
    return _prepare(noting, text, f"the text '{_short(text)}'", nothing)


@torch.inference_mode(False)
def initialiser(clip: Any, text: str) -> list[int] | torch.Tensor:
    """What the new word starts from: the ids of single-token words, with spaces or commas between,
    or the float32 [count, width] vectors of embeddings and earlier words.

    Raises CaptionError for a word of several tokens, with its pieces, and for a mixture of both.
    """
    inner = inner_tokenizers(clip)[ENCODER]
    ids: list[int] = []
    vectors: list[torch.Tensor] = []
    for word in text.replace(",", " ").split():
        found = prepare_plain(clip, word)
        pieces = _pieces(found, inner)
        if found.fixed_vectors is not None and len(pieces) == len(found.fixed_vectors):
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
    return torch.cat(vectors) if vectors else ids


def _text_width(clip: Any) -> int:
    encoders = inner_tokenizers(clip)
    if list(encoders) != [ENCODER]:
        raise CaptionError(
            f"this CLIP is that of {family_of(clip)} ({' and '.join(sorted(encoders))}); training "
            "needs one of Stable Diffusion 1.x (clip_l alone)"
        )
    return encoders[ENCODER].embedding_size


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


def _escaped(text: str) -> str:
    """`text` without emphasis: the host takes a bracket behind a backslash as it is."""
    return re.sub(r"[()]", r"\\\g<0>", text)


def _prepare(clip: Any, text: str, source: str, markers: torch.Tensor) -> CaptionIds:
    """`clip` knows the word by `markers` [vectors, width]; messages begin with `source`."""
    inner = inner_tokenizers(clip)[ENCODER]
    inner.zoodip_missing = []
    (chunks,) = clip.tokenize(_escaped(text), return_word_ids=True).values()
    if inner.zoodip_missing:
        raise CaptionError(
            f"{source} names embedding:{inner.zoodip_missing[0]}, and there is no such embedding; "
            "check the name, or take it out"
        )
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
            f"{POSITIONS}, as that of Stable Diffusion 1.x does"
        )
    return _placed(entries, source, markers)


def _placed(entries: Sequence[Any], source: str, markers: torch.Tensor) -> CaptionIds:
    """Tells ids, the word's markers and other vectors apart."""
    ids = torch.zeros(1, len(entries), dtype=torch.int64)
    places, positions, vectors = [], [], []
    for position, value in enumerate(entries):
        if not torch.is_tensor(value):
            ids[0, position] = int(value)
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
    return CaptionIds(ids, tuple(places), tuple(positions), fixed)


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
    inner = inner_tokenizers(clip)[ENCODER]
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
