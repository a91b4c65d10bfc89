"""What the step benchmark trains on: a model of random weights, written once, and a picture."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ._step_worker import ROOT

SEED = 0


@dataclass(frozen=True)
class Model:
    """The same weights twice, in float16: as a checkpoint, and as diffusers loads them offline."""

    shape: str  # of tests/tools/random_modules.py
    checkpoint: Path
    folder: Path

    def files(self) -> list[Path]:
        return [self.checkpoint, *sorted(self.folder.rglob("*.safetensors"))]


@dataclass(frozen=True)
class Setup:
    """A step: `n` perturbed points beside the base, of one picture of `resolution` pixels."""

    resolution: int
    n: int = 2
    threads: int = 2
    steps: int = 3  # that are timed, after one that is not

    def request(self, *names: str) -> dict[str, Any]:
        """The named fields, as a worker takes them."""
        return {name: value for name, value in asdict(self).items() if name in names}


def make_model(shape: str, work: Path) -> Model:
    """Writes what is missing in the folder `work`, each in a process of its own: it takes several
    gigabytes of memory. The model lies there for the next time."""
    work.mkdir(parents=True, exist_ok=True)
    model = Model(shape, work / f"{shape}.safetensors", work / f"{shape}-diffusers")
    tool = [sys.executable, str(ROOT / "tests/tools/make_checkpoint.py"), "--shape", shape]
    for form, place in (("checkpoint", model.checkpoint), ("diffusers", model.folder)):
        if not place.exists():
            words = [*tool, "--seed", str(SEED), "--form", form, "--out", str(place)]
            subprocess.run(words, check=True)
    return model


def make_images(folder: Path, resolution: int) -> Path:
    """A folder with one picture of noise, `resolution` pixels on a side."""
    import numpy as np
    from PIL import Image

    folder = folder / f"images-{resolution}"
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(SEED).integers(0, 256, (resolution, resolution, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "0.png")
    (folder / "0.txt").write_text("a photo of a {}\n", encoding="utf-8")
    return folder


def warm(files: list[Path]) -> None:
    """Reads files to the end, so that they lie in the system's file cache."""
    for file in files:
        with file.open("rb", buffering=0) as content:
            while content.read(1 << 24):
                pass
