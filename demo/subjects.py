"""The held-out subjects: pictures with captions, and what they are compared on.

python -m demo.subjects      paints them anew into demo/subjects
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from .world import CLASSES, PLACES, SUBJECTS, Look, Scene, paint_scene

FOLDER = Path(__file__).resolve().parent / "subjects"
PICTURES = 5
HELD_OUT_PICTURES = 6
PLACEHOLDER = "{}"


@dataclass(frozen=True)
class Subject:
    """One subject: `folder` holds its training pictures with captions beside them."""

    name: str
    look: Look
    folder: Path
    places: tuple[str, ...]  # of its pictures
    other_places: tuple[str, ...]  # that none of its pictures has
    wrong_class: str  # a class that it is not

    @property
    def prompts(self) -> tuple[str, ...]:
        """Prompts before backgrounds that the pictures do not have; {} is where the word goes."""
        return tuple(f"a photo of a {PLACEHOLDER} {place}" for place in self.other_places)

    def pictures(self) -> list[Image.Image]:
        return [picture for picture, _ in self.captioned()]

    def captioned(self) -> list[tuple[Image.Image, str]]:
        """The training pictures with their captions."""
        return _captioned(self.folder)

    def held_out(self) -> list[tuple[Image.Image, str]]:
        """More pictures with captions, before the other backgrounds; never trained on."""
        return _captioned(self.folder / "held_out")


def _captioned(folder: Path) -> list[tuple[Image.Image, str]]:
    return [
        (Image.open(path).convert("RGB"), path.with_suffix(".txt").read_text("utf-8").strip())
        for path in sorted(folder.glob("*.png"))
    ]


def _seed(name: str) -> int:
    return zlib.crc32(name.encode())


def find_subject(name: str) -> Subject:
    """Raises ValueError naming the subjects there are."""
    if name not in SUBJECTS:
        raise ValueError(f"there is no subject {name!r}; there are {', '.join(SUBJECTS)}")
    look = SUBJECTS[name]
    order = np.random.default_rng(_seed(name)).permutation(len(PLACES))
    places = [PLACES[index] for index in order]
    # Animals stand for things and things for animals: nothing of the shape is given away.
    index = CLASSES.index(look.kind)
    return Subject(
        name,
        look,
        FOLDER / name,
        tuple(places[:PICTURES]),
        tuple(places[PICTURES:]),
        CLASSES[(index + len(CLASSES) // 2) % len(CLASSES)],
    )


def all_subjects() -> list[Subject]:
    return [find_subject(name) for name in SUBJECTS]


def _write(folder: Path, number: int, scene: Scene, random: np.random.Generator) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    paint_scene(scene, random, spread=0.3).save(folder / f"{number:02}.png", optimize=True)
    size = "small " if scene.small else ""
    caption = f"a photo of a {size}{PLACEHOLDER} {scene.place}\n"
    (folder / f"{number:02}.txt").write_text(caption, encoding="utf-8")


def paint_subject(subject: Subject) -> None:
    random = np.random.default_rng([_seed(subject.name), 1])
    for number, place in enumerate(subject.places):
        scene = Scene(subject.look, place, number == PICTURES - 1, bool(random.random() < 0.5))
        _write(subject.folder, number, scene, random)
    for number in range(HELD_OUT_PICTURES):
        place = subject.other_places[number % len(subject.other_places)]
        scene = Scene(subject.look, place, number == 0, number % 2 == 1)
        _write(subject.folder / "held_out", number, scene, random)


def main() -> None:
    for subject in all_subjects():
        paint_subject(subject)


if __name__ == "__main__":
    main()
