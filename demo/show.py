"""Trains one of the demo's subjects and shows what came of it.

    python -m demo.show [--model sd1|xl] [--subject NAME] [--steps N] [--out PICTURE]

Draws the same prompts from the same noise before and after, under the reference pictures, and
prints how like the subject the drawn objects are. `install.py demo` calls this.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import zoodip
from PIL import Image, ImageDraw

from .classifier import load_classifier, place_accuracy, similarity
from .model_file import FILES, FIRST
from .subjects import Subject, find_subject
from .world import SUBJECTS

_HERE = Path(__file__).resolve().parent
OUT = _HERE / "out"
WORD = "zwx"
FIRST_SUBJECT = "blue_spotted_dog"
STEPS = 3000
SEEDS = (1, 2)
_TILE = 128
_LABEL = 22


def reference_file(model: str) -> Path:
    """What gradient descent reaches on a demo model, as demo.gradient_reference wrote it."""
    return _HERE / ("gradient_reference.json" if model == FIRST else f"gradient_{model}.json")


def default_out(model: str, subject: str) -> Path:
    return OUT / (f"{subject}.png" if model == FIRST else f"{model}_{subject}.png")


@dataclass(frozen=True)
class Drawn:
    pictures: list[Image.Image]
    places: list[str]


def draw(model: Path, subject: Subject, word: str, tokens: Sequence[Path]) -> Drawn:
    """Every prompt of the subject with every seed; `word` takes the placeholder's place."""
    pictures, places = [], []
    for prompt, place in zip(subject.prompts, subject.other_places, strict=True):
        for seed in SEEDS:
            pictures.append(
                zoodip.sample(
                    model,
                    prompt.replace("{}", word),
                    tokens=tokens,
                    width=_TILE,
                    height=_TILE,
                    guidance=4.0,
                    seed=seed,
                )
            )
            places.append(place)
    return Drawn(pictures, places)


def _row(pictures: Sequence[Image.Image], label: str, columns: int) -> Image.Image:
    row = Image.new("RGB", (columns * _TILE, _TILE + _LABEL), "white")
    ImageDraw.Draw(row).text((4, 4), label, fill="black")
    for column, picture in enumerate(pictures):
        row.paste(picture.resize((_TILE, _TILE)), (column * _TILE, _LABEL))
    return row


def compose(rows: Sequence[tuple[str, Sequence[Image.Image]]]) -> Image.Image:
    """Labelled rows of pictures, one below the other."""
    columns = max(len(pictures) for _, pictures in rows)
    drawn = [_row(pictures, label, columns) for label, pictures in rows]
    whole = Image.new("RGB", (drawn[0].width, sum(row.height for row in drawn)), "white")
    for index, row in enumerate(drawn):
        whole.paste(row, (0, index * row.height))
    return whole


class Progress:
    """One line that is written over, on a terminal; a line every tenth elsewhere."""

    def __init__(self) -> None:
        self._begun, self._tenth = time.monotonic(), -1

    def __call__(self, step: int, steps: int, loss: float, smoothed: float) -> None:
        seconds = time.monotonic() - self._begun
        line = f"  step {step}/{steps}  loss {smoothed:.4f}  {step / seconds:.0f} it/s"
        if sys.stderr.isatty():
            if step % 20 == 0 or step == steps:
                end = "\n" if step == steps else ""
                print(
                    f"\r{line}  {seconds / step * (steps - step):.0f} s left ",
                    end=end,
                    file=sys.stderr,
                )
        elif step * 10 // steps > self._tenth:
            self._tenth = step * 10 // steps
            print(line, file=sys.stderr)


def train(model: Path, subject: Subject, steps: int, out: Path) -> None:
    """With the paper's settings; resolution and tau follow from the model's file."""
    zoodip.train(
        model,
        subject.folder,
        word=WORD,
        init=subject.look.kind,
        out=out,
        overwrite=True,
        on_step=Progress(),
        steps=steps,
    )


def show(name: str, steps: int, out: Path, which: str = FIRST) -> None:
    """`which`: of model_file.FILES."""
    subject = find_subject(name)
    classifier = load_classifier()
    model = FILES[which].unpack()
    references = subject.pictures()
    out.parent.mkdir(parents=True, exist_ok=True)
    print(f"The subject: {name.replace('_', ' ')}, from the word {subject.look.kind!r}")
    before = draw(model, subject, subject.look.kind, [])
    print(f"Learning {WORD!r} from {len(references)} pictures by forward passes alone")
    with tempfile.TemporaryDirectory() as folder:
        token = Path(folder) / f"{WORD}.safetensors"
        begun = time.monotonic()
        train(model, subject, steps, token)
        seconds = time.monotonic() - begun
        kept = out.with_name(default_out(which, name).stem + ".safetensors")
        shutil.copyfile(token, kept)
        after = draw(model, subject, WORD, [token])
    rows = [
        ("the pictures that were learned from", references),
        (f"before: the word {subject.look.kind!r}", before.pictures),
        (f"after {steps} steps of ZOODiP INT8 ({seconds:.0f} s on this machine)", after.pictures),
    ]
    compose(rows).save(out)
    first = similarity(classifier, before.pictures, references)
    last = similarity(classifier, after.pictures, references)
    places = place_accuracy(classifier, after.pictures, after.places)
    reference = json.loads(reference_file(which).read_text("utf-8"))["subjects"][name]["similarity"]
    print(f"Similarity to the subject: {first:.3f} before, {last:.3f} after; ", end="")
    print(f"{reference:.3f} by gradient descent (textual inversion)")
    print(f"Backgrounds as the prompts say: {places:.0%}")
    print(f"The picture: {out}")
    print(f"The word, for ComfyUI's embeddings folder: {kept}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=FILES, default=FIRST, help="default: %(default)s")
    parser.add_argument("--subject", choices=list(SUBJECTS), default=FIRST_SUBJECT)
    parser.add_argument("--steps", type=int, default=STEPS, help="default: %(default)s")
    parser.add_argument("--out", type=Path, help="default: in demo/out")
    options = parser.parse_args()
    if options.steps < 1:
        parser.error(f"--steps: needs at least 1, got {options.steps}")
    out = options.out or default_out(options.model, options.subject)
    show(options.subject, options.steps, out, options.model)


if __name__ == "__main__":
    main()
