"""What quick trainings learn from: a tiny checkpoint of random weights, and pictures of noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from make_checkpoint import write_checkpoint
from PIL import Image


def write_tiny_model(path: Path) -> Path:
    write_checkpoint(path, "tiny-taesd", seed=3)
    return path


def write_noise(
    folder: Path, caption: str = "a photo of a {} in front of a wall\n", seed: int = 0
) -> Path:
    """Three pictures, the second with a caption unless that is empty."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    for i, size in enumerate([(80, 64, 3), (64, 100, 3), (70, 70, 3)]):
        Image.fromarray(random.integers(0, 256, size, dtype=np.uint8)).save(folder / f"{i}.png")
    if caption:
        (folder / "1.txt").write_text(caption)
    return folder
