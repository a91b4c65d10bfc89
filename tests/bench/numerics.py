"""Whether a cheap product spoils what a step learns: each type of products, judged by its slopes.

    python -m zoodip.bench numerics [--samples 256] [--checkpoint SD15] [--out FOLDER]

On the demo model, for each --compute and mu: the correlation of one-sided differences
(L(theta + mu e) - L(theta)) / mu with the exact directional derivative <gradient, e>, over draws of
(picture, t, eps, e) near words that the model knows; slopes of the loss and of the residual. The
exact gradient is the engine's own in float32, which the tests hold to autograd's.

Then, for three seeds, the wall time of a training on the demo model until its word reaches the
held-out loss that float32 products have reached after --steps steps (their mean over the seeds),
looked at every twentieth of them; each type with the mu that its slopes are best at.

With --checkpoint, on that model (Stable Diffusion 1.5's shape), for one (t, eps): the slopes along
eight directions, each at several mu. Agreement: their correlation with those of float32 products at
mu 1e-3.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from zoodip import _native

from demo.model_file import unpack
from demo.subjects import all_subjects
from demo.torch_model import TorchModel, load_token

from ._jobs import write_text
from .spread import held_out, train

COMPUTE = ("fp32", "bf16", "int8")
MUS = (1e-3, 3e-3, 5e-3, 1e-2, 2e-2)
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
    heads = heads_of(checkpoint)
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


def heads_of(checkpoint: Path) -> tuple[int, int]:
    """Of the text encoder and of the UNet."""
    found = _native.open_weights(str(checkpoint)).architecture()
    return found["text_heads"], found["unet_heads"]


def on_a_large_model(checkpoint: Path, directions: int = 8) -> list[dict[str, object]]:
    """Slopes of a model with 768 numbers a word at 64 x 64 latents."""
    generator = torch.Generator().manual_seed(0)
    z, eps = torch.randn(2, 1, 4, 64, 64, generator=generator)
    theta = 0.02 * torch.randn(768, generator=generator)
    draws = [Draw(700, z, eps, torch.randn(768, generator=generator)) for _ in range(directions)]
    rows: list[dict[str, object]] = []
    truth: list[float] = []
    for compute in COMPUTE:
        engine = Engine(checkpoint, compute, heads_of(checkpoint), 768)
        share = engine.calibrate(theta, draws[:1])
        for mu in MUS:
            points = torch.stack([theta, *(theta + mu * draw.direction for draw in draws)])
            losses = engine.objective.losses(points, 0, 700, z, eps)
            slopes = ((losses[1:] - losses[0]) / mu).tolist()
            truth = truth or slopes
            row: dict[str, object] = {"compute": compute, "mu": mu, "integers": share}
            row["agreement"] = round(correlation(slopes, truth), 4)
            print(row, flush=True)
            rows.append(row)
    return rows


@dataclass(frozen=True)
class Learning:
    """One training: [(seconds since it began, held-out loss)]."""

    compute: str
    mu: float
    seed: int
    curve: list[tuple[float, float]]

    def seconds_to(self, loss: float) -> float | None:
        return next((seconds for seconds, reached in self.curve if reached <= loss), None)


def learn(judge: TorchModel, compute: str, mu: float, seed: int, steps: int) -> Learning:
    tuples = held_out(judge)
    words: list[tuple[float, torch.Tensor]] = []
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "word.safetensors"
        begun = time.perf_counter()

        def on_event(event: dict[str, object]) -> None:
            if event["event"] == "checkpoint":
                words.append((time.perf_counter() - begun, load_token(out)))

        chosen = {"steps": steps, "seed": seed, "checkpoint_every": steps // 20}
        train(out, on_event=on_event, compute=compute, mu=mu, **chosen)
        words.append((time.perf_counter() - begun, load_token(out)))
    curve = []
    for seconds, theta in words:
        judge.use(theta)
        curve.append((round(seconds, 2), judge.held_out_loss(tuples)))
    return Learning(compute, mu, seed, curve)


def wall_times(mus: dict[str, float], steps: int, seeds: int) -> list[dict[str, object]]:
    """A row for each type of products and seed."""
    judge = TorchModel(unpack())
    runs = [
        learn(judge, compute, mu, seed, steps)
        for seed in range(seeds)
        for compute, mu in mus.items()
    ]
    target = statistics.mean(run.curve[-1][1] for run in runs if run.compute == "fp32")
    rows: list[dict[str, object]] = []
    for run in runs:
        row: dict[str, object] = {"compute": run.compute, "mu": run.mu, "seed": run.seed}
        row |= {"loss": round(run.curve[-1][1], 5), "seconds": run.curve[-1][0]}
        row |= {"target": round(target, 5), "seconds_to_target": run.seconds_to(target)}
        print(row, flush=True)
        rows.append(row)
    return rows


def best_mus(rows: list[dict[str, object]]) -> dict[str, float]:
    """For each type of products, the mu of its best slopes of the loss."""
    best: dict[str, dict[str, object]] = {}
    for row in rows:
        compute = str(row["compute"])
        better = compute not in best or row["correlation"] > best[compute]["correlation"]
        if row["slope"] == "loss" and better:
            best[compute] = row
    return {compute: float(row["mu"]) for compute, row in best.items()}


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m zoodip.bench numerics")
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    result = {"slopes": on_the_demo_model(options.samples)}
    result["learning"] = wall_times(best_mus(result["slopes"]), options.steps, options.seeds)
    if options.checkpoint:
        result["large"] = on_a_large_model(options.checkpoint)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        write_text(options.out / "numerics.json", json.dumps(result, indent=1))
