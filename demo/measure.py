"""How well the demo model follows its prompts, read by the classifier.

python -m demo.measure [--model sd1|xl] [--prompts 200] [--sheet PICTURE]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from .classifier import ATTRIBUTES, as_tensor, labels, load_classifier, read
from .networks import KINDS, SD1
from .torch_model import TorchModel
from .training_scenes import checkpoint_of
from .words import frame, token_id
from .world import CLASSES, PLACES, Look, Scene, describe, draw_look, with_article


def prompts(count: int, seed: int = 0) -> list[Scene]:
    """Looks by chance, every class before every place."""
    random = np.random.default_rng([seed, 9])
    scenes = []
    for index in range(count):
        look = draw_look(random)
        kind = CLASSES[index % len(CLASSES)]
        place = PLACES[index // len(CLASSES) % len(PLACES)]
        scenes.append(Scene(Look(kind, look.body, look.second, look.pattern), place))
    return scenes


def prompt_text(scene: Scene) -> str:
    return f"a photo of {with_article(describe(scene.look))} {scene.place}"


def accuracy(drawn: list[Image.Image], scenes: list[Scene]) -> dict[str, float]:
    """The share of pictures in which each attribute is read as the prompt says it."""
    truth = torch.tensor([labels(scene) for scene in scenes])
    right = (read(load_classifier(), as_tensor(drawn)) == truth).float().mean(0)
    return {name: value.item() for name, value in zip(ATTRIBUTES, right, strict=True)}


def sheet(pictures: list[Image.Image], columns: int = 8) -> Image.Image:
    width, height = pictures[0].size
    rows = -(-len(pictures) // columns)
    whole = Image.new("RGB", (columns * width, rows * height), "white")
    for index, picture in enumerate(pictures):
        whole.paste(picture, (index % columns * width, index // columns * height))
    return whole


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=int, default=192)
    parser.add_argument("--model", choices=KINDS, default=SD1.name, help="default: %(default)s")
    parser.add_argument("--file", type=Path, help="another checkpoint of this shape")
    parser.add_argument("--guidance", type=float, default=4.0)
    parser.add_argument("--sheet", type=Path, help="where to write the first 64 pictures")
    options = parser.parse_args()
    file = options.file or checkpoint_of(options.model)
    model = TorchModel(file, KINDS[options.model])
    scenes = prompts(options.prompts)
    drawn: list[Image.Image] = []
    for first in range(0, len(scenes), 16):
        part = scenes[first : first + 16]
        ids = [frame([token_id(word) for word in prompt_text(s).split()]) for s in part]
        drawn += model.draw(ids, range(first, first + len(part)), options.guidance)
    for name, share in accuracy(drawn, scenes).items():
        print(f"{name:8} {share:.3f}")
    if options.sheet:
        sheet(drawn[:64]).save(options.sheet)


if __name__ == "__main__":
    main()
