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
def prepare_captions(
    clip: Any, captions: Sequence[str], word: str, vectors: int = 1, also: Sequence[str] = ()
) -> list[Any]:
    """Training captions: "{sks}" stands for the word sks, which may also be written out, and "{}"
    for `word` where it is the only one.

    Args:
        clip: of a family that can be trained, with what was applied to it.
        captions: one for each result.
        word: the new word, of `vectors` vectors.
        also: further words, of as many vectors each.

    Raises:
        CaptionError: for a caption without one of the words, with "{}" where there are several,
            with more than 75 tokens, or with an embedding that does not exist or does not fit, and
            for a CLIP of another family.
        TokenError: for a bad word.
    """
    words = [word, *also]
    marked = _with_markers(clip, words, vectors)
    prepared = []
    for caption in captions:
        source = f"the caption '{_short(caption)}'"
        found = _prepare(marked, _fill_braces(caption, words, source), source)
        if not found.places:
            raise CaptionError(
                f"{source} contains none of the words: put {_in_braces(words, ', ')} where they "
                "are seen"
                if also
                else f"{source} does not contain the word: put {{}} (or '{word}') where the "
                "subject is named"
            )
        prepared.append(found)
    return prepared


def _fill_braces(caption: str, words: Sequence[str], source: str) -> str:
    for word in words:
        braces = re.compile(re.escape(f"{{{word}}}"), re.IGNORECASE | re.ASCII)
        caption = braces.sub(f" {word} ", caption)
    if len(words) == 1:
        return caption.replace("{}", f" {words[0]} ")
    if "{}" in caption:
        raise CaptionError(
            f"{source} has {{}}, which stands for the only word, and there are {len(words)}: write "
            f"{_in_braces(words, ' or ')} for the one that is meant"
        )
    return caption


def _in_braces(words: Sequence[str], between: str) -> str:
    return between.join(f"{{{word}}}" for word in words)


@torch.inference_mode(False)
def prepare_plain(clip: Any, text: str) -> Any:
    """A text without a new word, such as the empty prompt; `places` is empty.

    Raises CaptionError as `prepare_captions`.
    """
    noting = _with_markers(clip, [_NO_WORD])
    return _prepare(noting, text, f"the text '{_short(text)}'")


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


def _with_markers(clip: Any, words: Sequence[str], vectors: int = 1) -> Any:
    """The CLIP with the words: what stands for them says which word it is, and which vector."""
    for number, word in enumerate(words):
        count = torch.arange(vectors).unsqueeze(1) + number * MAX_VECTORS + 1.0
        markers = {
            key: torch.full((1, inner.embedding_size), _FAR) * count
            for key, inner in _encoders(clip).items()
        }
        clip = apply_token(clip, Token(word, markers, {}))
    return clip


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


def _prepare(clip: Any, text: str, source: str) -> Any:
    """`clip` knows the words by their markers; messages begin with `source`."""
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
        read[key] = _read(chunks, source, inner.embedding_size, inner.end_token)
    first_key, first = next(iter(read.items()))
    for key, other in read.items():
        same = all(
            getattr(first, name) == getattr(other, name)
            for name in ("places", "words", "fixed_positions")
        )
        if not same or not torch.equal(first.ids, other.ids):
            raise CaptionError(
                f"{source} is read as other tokens by {key} than by {first_key} of this CLIP; "
                "training needs text encoders that read the same"
            )
    fixed = {key: one.fixed_vectors for key, one in read.items() if len(one.fixed_positions)}
    return replace(first, fixed_vectors=fixed)


def _read(chunks: Any, source: str, width: int, end: int) -> Any:
    """What a text encoder of that width reads: ids, the places where words' markers begin, and
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
    places, words, positions, vectors = [], [], [], []
    ended = False
    for position, value in enumerate(entries):
        if not torch.is_tensor(value):
            ids[0, position] = end if ended else int(value)
            ended = ended or int(value) == end
        elif value.shape != (width,):
            raise CaptionError(
                f"{source} names an embedding of {value.shape[-1]} numbers, and this CLIP takes "
                f"{width}; use one that was made for this model family"
            )
        elif float(value[0]) > _FAR:
            positions.append(position)
            vectors.append(value.detach().to("cpu", torch.float32))
        else:
            word, vector = divmod(int(value[0] / _FAR) - 1, MAX_VECTORS)
            if vector == 0:
                places.append(position)
                words.append(word)
    fixed = torch.stack(vectors) if vectors else {}
    return graph().Text(ids, tuple(places), tuple(positions), fixed, tuple(words))


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
