"""The scenes that the demo model is trained on, and what its training scripts share."""

from __future__ import annotations

import functools
import os
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .model_file import FILES, FIRST
from .world import SIZE, Scene, draw_scene, paint_scene

SCENES = 24000
_CHUNK = 500


def save(path: Path, content: Any) -> None:
    """Whole or not at all."""
    staging = path.with_suffix(".partial")
    torch.save(content, staging)
    os.replace(staging, path)


def work_folder(model: str) -> Path:
    """Where a model's stages lie unless another folder is named."""
    return Path("build") / ("demo" if model == FIRST else f"demo-{model}")


def checkpoint_of(model: str, work: Path | None = None) -> Path:
    """The file of a demo model: of the repository, or what training left in its work folder.

    Raises SystemExit where it was not trained."""
    if model in FILES:
        return FILES[model].unpack()
    path = (work or work_folder(model)) / f"{model}.safetensors"
    if work is None and not path.exists():
        raise SystemExit(f"{path} is not there: python -m demo.train_model --model {model}")
    return path


def scene_of(index: int, seed: int) -> tuple[Scene, np.random.Generator]:
    """The scene with this number, and the generator that goes on to paint it."""
    random = np.random.default_rng([seed, index])
    return draw_scene(random), random


def _paint_chunk(first: int, seed: int) -> np.ndarray:
    return np.stack(
        [np.asarray(paint_scene(*scene_of(index, seed))) for index in range(first, first + _CHUNK)]
    )


def paint_all(work: Path, seed: int) -> np.ndarray:
    """uint8 [scenes, 128, 128, 3], mapped from a file."""
    path = work / "scenes.npy"
    if not path.exists():
        staging = path.with_suffix(".partial")
        shape = (SCENES, SIZE, SIZE, 3)
        array = np.lib.format.open_memmap(staging, "w+", np.uint8, shape)
        firsts = range(0, SCENES, _CHUNK)
        with ProcessPoolExecutor() as pool:
            for first, chunk in zip(
                firsts, pool.map(functools.partial(_paint_chunk, seed=seed), firsts), strict=True
            ):
                array[first : first + _CHUNK] = chunk
        array.flush()
        os.replace(staging, path)
    return np.load(path, mmap_mode="r")


def to_tensor(pictures: np.ndarray) -> torch.Tensor:
    """uint8 [b, h, w, 3] -> float32 [b, 3, h, w] in [-1, 1], channels last in memory."""
    return torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


class Log:
    """One line now and then: step, loss, steps a second, time left."""

    def __init__(self, name: str, steps: int, every: int = 250) -> None:
        self.name, self.steps, self.every = name, steps, every
        self.mean, self.since, self.begun = 0.0, 0, time.monotonic()

    def add(self, step: int, loss: float) -> None:
        self.mean += loss
        self.since += 1
        if (step + 1) % self.every == 0:
            seconds = (time.monotonic() - self.begun) / self.since
            left = seconds * (self.steps - step - 1) / 60
            line = f"{self.name} {step + 1}/{self.steps}  loss {self.mean / self.since:.5f}"
            print(f"{line}  {seconds:.3f} s/step  {left:.0f} min left", flush=True)
            self.mean, self.since, self.begun = 0.0, 0, time.monotonic()
