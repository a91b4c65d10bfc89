"""Scenes as a model sees them that is told sizes: most of them whole, others cut from a larger
picture or enlarged from a smaller one.

Without these the sizes would be the same for all pictures, and the model would not know what they
mean.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from .networks import PLAIN_SIZES
from .train_autoencoder import encode
from .training_scenes import save
from .world import SIZE

ONE_IN = 4  # scenes is cut or enlarged


def sized_view(picture: np.ndarray, index: int, seed: int) -> tuple[np.ndarray, tuple[int, ...]]:
    """What is shown of the scene with this number, and the sizes that go with it.

    Of a fourth of the scenes, by chance, a piece at one and a half times its size, or the scene as
    it looks when it was a small file.
    """
    if index % ONE_IN:
        return picture, PLAIN_SIZES
    random = np.random.default_rng([seed, 10, index])
    whole = Image.fromarray(picture)
    if random.random() < 0.5:
        large = SIZE * 3 // 2
        top, left = map(int, random.integers(8, large - SIZE - 7, 2))
        shown = whole.resize((large, large), Image.Resampling.BICUBIC)
        shown = shown.crop((left, top, left + SIZE, top + SIZE))
        return np.asarray(shown), (large, large, top, left, SIZE, SIZE)
    small = int(random.integers(SIZE // 4, SIZE // 2 + 1))
    shown = whole.resize((small, small), Image.Resampling.BOX)
    shown = shown.resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    return np.asarray(shown), (small, small, 0, 0, SIZE, SIZE)


def encode_sized(
    work: Path, autoencoder: nn.Module, pictures: np.ndarray, seed: int
) -> tuple[Tensor, Tensor]:
    """float32 [scenes, 4, 16, 16], and sizes [scenes, 6]."""
    path = work / "sized.pt"
    if not path.exists():
        latents, sizes = [], []
        for first in range(0, len(pictures), 50):
            views = [
                sized_view(picture, first + i, seed)
                for i, picture in enumerate(pictures[first : first + 50])
            ]
            latents.append(encode(autoencoder, np.stack([view for view, _ in views])))
            sizes += [size for _, size in views]
        save(path, {"latents": torch.cat(latents), "sizes": torch.tensor(sizes)})
    stored = torch.load(path)
    return stored["latents"].float(), stored["sizes"]
