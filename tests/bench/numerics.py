"""Whether a cheap product spoils what a step learns: each type of products, judged by its slopes.

    python -m zoodip.bench numerics [--samples 256] [--checkpoint SD15] [--out FOLDER]

On the demo model, for each --compute and mu: the correlation of one-sided differences
(L(theta + mu e) - L(theta)) / mu with the exact directional derivative <gradient, e>, over draws of
(picture, t, eps, e) near words that the model knows; slopes of the loss and of the residual. The
exact gradient is the engine's own in float32, which the tests hold to autograd's.

With --checkpoint, on that model, for one (t, eps): slopes of four directions, each measured at
eight nearby places of theta that rounding tells apart and the loss does not. Spread: the deviation
of a slope from place to place, relative to the deviation of the slopes between directions.
"""

from __future__ import annotations

import argparse
import json
import statistics
from dataclasses import dataclass
from pathlib import Path

import torch
from zoodip import _native

from demo.model_file import unpack
from demo.subjects import all_subjects
from demo.torch_model import TorchModel, caption_to_ids

from ._jobs import write_text

COMPUTE = ("fp32", "bf16", "int8")
MUS = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
T_RANGE = (500, 900)  # the paper's timesteps
CALIBRATION = 24  # samples
CAPTION = "a photo of a {}"


@dataclass(frozen=True)
class Draw:
    """One (picture, t, eps, e). z, eps: [1, 4, h, w]; e: [d]."""

    timestep: int
    z: torch.Tensor
    eps: torch.Tensor
    direction: torch.Tensor


def correlation(xs: list[float], ys: list[float]) -> float:
    """Pearson's. A list without any spread has none: 0."""
    if statistics.pstdev(xs) == 0 or statistics.pstdev(ys) == 0:
        return 0.0
    return statistics.correlation(xs, ys)


def make_draws(latents: torch.Tensor, width: int, count: int, seed: int) -> list[Draw]:
    """latents: [pictures, 4, h, w], taken one after another."""
    generator = torch.Generator().manual_seed(seed)
    draws = []
    for i in range(count):
        z = latents[i % len(latents)][None]
        timestep = int(torch.randint(*T_RANGE, (1,), generator=generator))
        eps = torch.randn(z.shape, generator=generator)
        draws.append(Draw(timestep, z, eps, torch.randn(width, generator=generator)))
    return draws


class Engine:
    """The denoising loss of one word, with products of one type."""

    def __init__(self, checkpoint: Path, compute: str, heads: tuple[int, int], width: int) -> None:
        source = _native.open_weights(str(checkpoint))
        text_encoder = _native.TextEncoder(source, weights="int8", heads=heads[0])
        unet = _native.UNet(source, weights="int8", compute=compute, heads=heads[1])
        self.objective = _native.Objective(
            text_encoder, unet, word="sks", width=width, captions=[CAPTION]
        )

    def calibrate(self, theta: torch.Tensor, draws: list[Draw]) -> float:
        """The share of multiply-adds that are of integers."""
        samples = [(0, draw.timestep, draw.z, draw.eps) for draw in draws]
        return self.objective.calibrate(theta, samples)[1]

    def slopes(self, theta: torch.Tensor, draw: Draw, mu: float, residual: bool) -> float:
        points = torch.stack([theta, theta + mu * draw.direction])
        arguments = (0, draw.timestep, draw.z, draw.eps)
        losses = self.objective.losses(points, *arguments, linearised=residual)
        return ((losses[1] - losses[0]) / mu).item()

    def gradient(self, theta: torch.Tensor, draw: Draw) -> torch.Tensor:
        return self.objective.gradient(theta, 0, draw.timestep, draw.z, draw.eps)[1]


def on_the_demo_model(samples: int) -> list[dict[str, object]]:
    """A row for each type of products, form of the slope and mu."""
    checkpoint, subjects = unpack(), all_subjects()
    judge = TorchModel(checkpoint)
    latents = judge.encode([picture for subject in subjects for picture in subject.pictures()])
    thetas = [judge.row(subject.look.kind) for subject in subjects]
    width = len(thetas[0])
    heads = _native_heads(checkpoint)
    draws = make_draws(latents, width, samples, seed=1)
    places = [thetas[i % len(thetas)] for i in range(samples)]
    exact = Engine(checkpoint, "fp32", heads, width)
    truth = [
        torch.dot(exact.gradient(theta, draw), draw.direction).item()
        for theta, draw in zip(places, draws, strict=True)
    ]
    rows: list[dict[str, object]] = []
    for compute in COMPUTE:
        engine = Engine(checkpoint, compute, heads, width)
        share = engine.calibrate(thetas[0], make_draws(latents, width, CALIBRATION, seed=2))
        for residual in (False, True):
            for mu in MUS:
                got = [
                    engine.slopes(theta, draw, mu, residual)
                    for theta, draw in zip(places, draws, strict=True)
                ]
                row = {"compute": compute, "slope": "residual" if residual else "loss", "mu": mu}
                row |= {"correlation": round(correlation(got, truth), 4), "integers": share}
                print(row, flush=True)
                rows.append(row)
    return rows


def _native_heads(checkpoint: Path) -> tuple[int, int]:
    """Of the text encoder and of the UNet."""
    found = _native.open_weights(str(checkpoint)).architecture()
    return found["text_heads"], found["unet_heads"]


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m zoodip.bench numerics")
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    rows = on_the_demo_model(options.samples)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        write_text(options.out / "slopes.json", json.dumps(rows, indent=2))
