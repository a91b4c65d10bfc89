"""What a folder of pictures gives to train on, without training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ._api import StrPath
from ._loader import load_native


@dataclass(frozen=True)
class FolderPicture:
    """A picture of a folder."""

    file: Path
    name: str
    """Below the folder: "dog.jpg", "10_sks dog/dog.jpg"."""
    caption: str
    """One line; empty when it has none."""
    source: str
    """Where the caption is from: "dog.txt", "metadata.jsonl", "10_sks dog"."""
    repeats: int
    """How often it is drawn where another is drawn once."""


@dataclass(frozen=True)
class LeftOut:
    """What was not used."""

    name: str
    why: str
    """Empty for what nobody would expect to be read."""
    expected: bool
    """That it is read, by who put it there."""


@dataclass(frozen=True)
class PictureFolder:
    """A folder of pictures and what is said of them."""

    pictures: list[FolderPicture]
    """By name; those of `N_name` folders behind the others."""
    left_out: list[LeftOut]
    files: list[Path]
    """All that decide this: pictures and texts."""
    text: str
    """One line: "6 pictures, 5 captions; left out: ..."."""
    lacks_something: bool
    """Whether anything was left out that its owner would expect to be read."""


def read_folder(path: StrPath) -> PictureFolder:
    """Lists what `train` would take from a folder; no picture is opened.

    A picture's caption is the first of these that is not empty: `NAME.txt`, `NAME.caption`,
    `NAME.jpg.txt`, `NAME.jpg.caption`, its line of `metadata.jsonl` (`file_name` and `text`), the
    name of the `N_name` folder that it lies in. Names match in any case of letters and in either
    Unicode form.

    Raises:
        Error: for a missing folder, one without pictures, and a caption that is not UTF-8 text.
    """
    read = load_native().read_picture_folder(Path(path))
    return PictureFolder(
        [
            FolderPicture(each.file, each.name, each.caption, each.source, each.repeats)
            for each in read.pictures
        ],
        [LeftOut(each.name, each.why, each.expected) for each in read.left_out],
        list(read.files),
        read.text,
        read.lacks_something,
    )
