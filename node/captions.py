"""Captions as text: lists of them, template sets, and one caption for each picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

LINES = "lines below"
DEFAULT = "a photo of a {}"  # of a picture whose own caption is empty


class CaptionError(ValueError):
    """Captions that cannot be used; one sentence says why and what to do."""


def split_captions(text: str) -> list[str]:
    """One caption a line; blank lines and spaces around a caption are dropped."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def _read_templates(name: str) -> list[str]:
    """Those of the engine, which stand in a file so that these nodes work without it."""
    file = Path(__file__).parents[1] / "native" / "pictures" / "data" / f"{name}.txt"
    lines = split_captions(file.read_text(encoding="utf-8"))
    return [line for line in lines if not line.startswith("#")]


TEMPLATES = {name: _read_templates(name) for name in ("object", "style")}  # as settings name them
TEMPLATE_SETS = (LINES, *TEMPLATES)
EARLIER_NAMES = {"objects": "object", "styles": "style"}  # in graphs that were saved before


def listed_captions(items: Sequence[str | None], count: int) -> list[str]:
    """The captions in what came over a wire: one text with a caption a line, or a list.

    A list of `count` items, as nodes for data sets give, holds a caption for each picture: line
    ends in it are spaces, and an empty one is `DEFAULT`. Items of any other list are texts, of
    which an empty one counts as a caption: which picture it belongs to is not known.
    """
    texts = [item or "" for item in items]
    if len(texts) == count > 1:
        return [" ".join(text.split()) or DEFAULT for text in texts]
    if len(texts) == 1:
        return split_captions(texts[0])
    return [caption for text in texts for caption in split_captions(text) or [DEFAULT]]


def match_captions(captions: list[str], count: int) -> list[str]:
    """A caption for each of `count` pictures: in order, or the only one for all of them.

    Raises CaptionError, with both counts, when the numbers differ.
    """
    if len(captions) == count:
        return list(captions)
    if len(captions) == 1:
        return captions * count
    raise CaptionError(
        f"{counted(len(captions), 'caption')} for {counted(count, 'picture')}: give one line for "
        "each picture, in their order, or a single line for all of them"
    )


def known_template_set(name: str) -> str:
    """The one of `TEMPLATE_SETS` that a name stands for, also an earlier one. Raises
    CaptionError."""
    name = EARLIER_NAMES.get(name, name)
    if name not in TEMPLATE_SETS:
        raise CaptionError(
            f"there is no template set '{name}'; choose one of {', '.join(TEMPLATE_SETS)}"
        )
    return name


def template_captions(name: str, text: str, count: int) -> list[str]:
    """The captions of a set of `TEMPLATE_SETS`; `text` has those of "lines below".

    With `count` above 0 they are cut or repeated, in order, to that many. Raises CaptionError for
    an unknown set, a count below 0 and when there are no lines.
    """
    name = known_template_set(name)
    if count < 0:
        raise CaptionError(f"the count of captions is {count}; it must be 0 or more")
    captions = split_captions(text) if name == LINES else TEMPLATES[name]
    if not captions:
        raise CaptionError(
            "there are no captions: write one a line, for example 'a photo of a {}', or choose a "
            "template set"
        )
    return [captions[i % len(captions)] for i in range(count or len(captions))]


def counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
