"""Captions as text: lists of them, template sets, and one caption for each picture."""

from __future__ import annotations

from collections.abc import Sequence

LINES = "lines below"
DEFAULT = "a photo of a {}"  # of a picture whose own caption is empty

# The templates of Textual Inversion (R. Gal et al., "An Image is Worth One Word: Personalizing
# Text-to-Image Generation using Textual Inversion", 2022), in the form that is usual today: the 27
# that speak of photographs, and the 19 for styles. Two of the styles occur twice there, too.
_PHOTO_OF = """
    a photo of a {}
    a rendering of a {}
    a cropped photo of the {}
    the photo of a {}
    a photo of a clean {}
    a photo of a dirty {}
    a dark photo of the {}
    a photo of my {}
    a photo of the cool {}
    a close-up photo of a {}
    a bright photo of the {}
    a cropped photo of a {}
    a photo of the {}
    a good photo of the {}
    a photo of one {}
    a close-up photo of the {}
    a rendition of the {}
    a photo of the clean {}
    a rendition of a {}
    a photo of a nice {}
    a good photo of a {}
    a photo of the nice {}
    a photo of the small {}
    a photo of the weird {}
    a photo of the large {}
    a photo of a cool {}
    a photo of a small {}
"""
_IN_THE_STYLE_OF = """
    a painting in the style of {}
    a rendering in the style of {}
    a cropped painting in the style of {}
    the painting in the style of {}
    a clean painting in the style of {}
    a dirty painting in the style of {}
    a dark painting in the style of {}
    a picture in the style of {}
    a cool painting in the style of {}
    a close-up painting in the style of {}
    a bright painting in the style of {}
    a cropped painting in the style of {}
    a good painting in the style of {}
    a close-up painting in the style of {}
    a rendition in the style of {}
    a nice painting in the style of {}
    a small painting in the style of {}
    a weird painting in the style of {}
    a large painting in the style of {}
"""


class CaptionError(ValueError):
    """Captions that cannot be used; one sentence says why and what to do."""


def split_captions(text: str) -> list[str]:
    """One caption a line; blank lines and spaces around a caption are dropped."""
    return [line.strip() for line in text.splitlines() if line.strip()]


TEMPLATES = {"objects": split_captions(_PHOTO_OF), "styles": split_captions(_IN_THE_STYLE_OF)}
TEMPLATE_SETS = (LINES, *TEMPLATES)


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
        f"{_counted(len(captions), 'caption')} for {_counted(count, 'picture')}: give one line for "
        "each picture, in their order, or a single line for all of them"
    )


def template_captions(name: str, text: str, count: int) -> list[str]:
    """The captions of a set of `TEMPLATE_SETS`; `text` has those of "lines below".

    With `count` above 0 they are cut or repeated, in order, to that many. Raises CaptionError for
    an unknown set, a count below 0 and when there are no lines.
    """
    if name not in TEMPLATE_SETS:
        raise CaptionError(
            f"there is no template set '{name}'; choose one of {', '.join(TEMPLATE_SETS)}"
        )
    if count < 0:
        raise CaptionError(f"the count of captions is {count}; it must be 0 or more")
    captions = split_captions(text) if name == LINES else TEMPLATES[name]
    if not captions:
        raise CaptionError(
            "there are no captions: write one a line, for example 'a photo of a {}', or choose a "
            "template set"
        )
    return [captions[i % len(captions)] for i in range(count or len(captions))]


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
