"""Whether a cheap product spoils what a step learns: each type of products, judged by its slopes.

    python -m zoodip.bench numerics [--samples 256] [--checkpoint SD15] [--out FOLDER]

On the demo model, for each --compute and mu: the correlation of one-sided differences
(L(theta + mu e) - L(theta)) / mu with the exact directional derivative <gradient, e>, over draws of
(picture, t, eps, e) near words that the model knows; slopes of the loss and of the residual. The
exact gradient is the engine's own in float32, which the tests hold to autograd's.

Then, for eight seeds, the wall time (loading and calibration included) and the steps of a training
on the demo model until its word reaches the held-out loss that every float32 training has reached
by its end (the highest of their last), looked at every fortieth of --steps; each type with its
default mu and with the one that its slopes are best at.

With --checkpoint, on that model (Stable Diffusion 1.5's shape), for two (t, z, eps): the slopes
along eight directions each at several mu beside their exact derivatives: correlation, and the root
mean square of the differences over that of the derivatives. Integers are calibrated on others.
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from zoodip import _native

from demo.model_file import unpack
from demo.subjects import all_subjects, find_subject
from demo.torch_model import TorchModel, load_token

from ._jobs import write_text
from ._step_machine import describe
from ._step_report import machine_list
from .spread import SUBJECT, held_out, train

RESULTS = Path(__file__).with_name("results") / "numerics"
COMPUTE = ("fp32", "bf16", "int8")
MUS = (1e-3, 3e-3, 5e-3, 1e-2, 2e-2, 4e-2)
DEFAULT_MUS = {"fp32": 1e-3, "bf16": 1e-2, "int8": 2e-2}  # what 0 stands for
LARGE_MUS = (1e-3, 1e-2, 2e-2)
T_RANGE = (500, 900)  # the paper's timesteps
CALIBRATION = 24  # samples
LOOKS = 40  # at a training's word
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


def relative_error(xs: list[float], truth: list[float]) -> float:
    """Root mean square of the differences over that of the truth."""
    differences = [x - true for x, true in zip(xs, truth, strict=True)]
    return math.hypot(*differences) / math.hypot(*truth)


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
        self.objective = _native.Objective([text_encoder], unet, word="sks", captions=[CAPTION])

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


def on_the_demo_model(samples: int) -> list[dict[str, Any]]:
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
    rows: list[dict[str, Any]] = []
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
    return found["text_encoders"][0]["heads"], found["unet_heads"]


def on_a_large_model(checkpoint: Path, directions: int = 8) -> list[dict[str, Any]]:
    """Slopes of a model with 768 numbers a word at 64 x 64 latents, a row as above. Those of each
    (t, z, eps) are in units of their exact derivatives' root mean square, so that all count alike.
    """
    theta = 0.02 * torch.randn(768, generator=torch.Generator().manual_seed(0))
    latents = torch.randn(4, 4, 64, 64, generator=torch.Generator().manual_seed(1))
    samples, others = (make_draws(part, 768, len(part), seed=3) for part in latents.split([2, 2]))
    along = torch.randn(directions, 768, generator=torch.Generator().manual_seed(2))
    exact = Engine(checkpoint, "fp32", heads_of(checkpoint), 768)
    truths = [along @ exact.gradient(theta, draw) for draw in samples]
    units = [truth.square().mean().sqrt() for truth in truths]
    truth = torch.cat([one / unit for one, unit in zip(truths, units, strict=True)]).tolist()
    del exact
    rows: list[dict[str, Any]] = []
    for compute in COMPUTE:
        engine = Engine(checkpoint, compute, heads_of(checkpoint), 768)
        share = engine.calibrate(theta, others)
        for mu in LARGE_MUS:
            points = torch.cat([theta[None], theta + mu * along])
            slopes: list[float] = []
            for draw, unit in zip(samples, units, strict=True):
                losses = engine.objective.losses(points, 0, draw.timestep, draw.z, draw.eps)
                slopes += ((losses[1:] - losses[0]) / mu / unit).tolist()
            row: dict[str, Any] = {"compute": compute, "slope": "loss", "mu": mu}
            row |= {"integers": share, "correlation": round(correlation(slopes, truth), 4)}
            row |= {"error": float(f"{relative_error(slopes, truth):.4g}")}
            print(row, flush=True)
            rows.append(row)
    return rows


@dataclass(frozen=True)
class Learning:
    """One training: [(seconds since it began, step, held-out loss)]."""

    compute: str
    mu: float
    seed: int
    curve: list[tuple[float, int, float]]

    def until(self, loss: float) -> tuple[float, int] | None:
        """Seconds and steps."""
        return next((point[:2] for point in self.curve if point[2] <= loss), None)


def learn(judge: TorchModel, compute: str, mu: float, seed: int, steps: int) -> Learning:
    tuples = held_out(judge)
    words: list[tuple[float, int, torch.Tensor]] = []
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "word.safetensors"
        begun = time.perf_counter()

        def on_event(event: dict[str, Any]) -> None:
            if event["event"] == "checkpoint":
                words.append((time.perf_counter() - begun, event["step"], load_token(out)))

        chosen = {"steps": steps, "seed": seed, "checkpoint_every": max(1, steps // LOOKS)}
        train(out, on_event=on_event, compute=compute, mu=mu, **chosen)
        words.append((time.perf_counter() - begun, steps, load_token(out)))
    curve = []
    for seconds, step, theta in words:
        judge.use(theta)
        curve.append((round(seconds, 2), step, judge.held_out_loss(tuples)))
    return Learning(compute, mu, seed, curve)


def wall_times(mus: dict[str, list[float]], steps: int, seeds: int) -> dict[str, Any]:
    """The loss to start from, the target, and the runs: for each type of products, mu and seed."""
    judge = TorchModel(unpack())
    judge.use(judge.row(find_subject(SUBJECT).wrong_class))
    start = judge.held_out_loss(held_out(judge))
    runs = []
    for seed in range(seeds):  # the types in turn
        for compute, mu in [(compute, mu) for compute, some in mus.items() for mu in some]:
            runs.append(learn(judge, compute, mu, seed, steps))
            print(runs[-1].compute, mu, seed, runs[-1].curve[-1], flush=True)
    target = max(run.curve[-1][-1] for run in runs if run.compute == "fp32")
    told = []
    for run in runs:
        seconds, step = run.until(target) or (None, None)
        told.append(asdict(run) | {"seconds_to_target": seconds, "steps_to_target": step})
    return {"start": start, "target": target, "runs": told}


def mus_to_train_with(rows: list[dict[str, Any]]) -> dict[str, list[float]]:
    """For each type of products the default and the mu of its best slopes of the loss."""
    best: dict[str, dict[str, Any]] = {}
    for row in rows:
        compute = str(row["compute"])
        better = compute not in best or row["correlation"] > best[compute]["correlation"]
        if row["slope"] == "loss" and better:
            best[compute] = row
    return {
        compute: list(dict.fromkeys((DEFAULT_MUS[compute], row["mu"])))
        for compute, row in best.items()
    }


def slopes_table(rows: list[dict[str, Any]], figure: str) -> str:
    """A line for each type of products (and form of the slope), a column for each mu."""
    mus = list(dict.fromkeys(row["mu"] for row in rows))
    lines = ["| `--compute` | slope | " + " | ".join(f"mu {mu:g}" for mu in mus) + " |"]
    lines.append("|-|-|" + "-|" * len(mus))
    for compute, slope in dict.fromkeys((row["compute"], row["slope"]) for row in rows):
        mine = {
            row["mu"]: row[figure]
            for row in rows
            if (row["compute"], row["slope"]) == (compute, slope)
        }
        lines.append(
            f"| {compute} | {slope} | " + " | ".join(f"{mine[mu]:.3g}" for mu in mus) + " |"
        )
    return "\n".join(lines)


def steps_of(run: dict[str, Any]) -> int:
    """To the target; all of them where it was not reached."""
    return int(run["steps_to_target"] or run["curve"][-1][1])


def step_factor(steps: list[int], exact: list[int]) -> tuple[float, float]:
    """The ratio of the means, and its standard error by those of both."""
    ratio = statistics.fmean(steps) / statistics.fmean(exact)
    spread = [
        statistics.stdev(some) / statistics.fmean(some) / math.sqrt(len(some))
        for some in (steps, exact)
        if len(some) > 1
    ]
    return ratio, ratio * math.hypot(*spread)


def learning_table(learning: dict[str, Any]) -> str:
    lines = [
        "| `--compute` | mu | seconds to it, by seed | steps to it, by seed | their mean beside "
        "fp32's (and its standard error) | seconds of all steps | last loss |"
    ]
    lines.append("|-|-|-|-|-|-|-|")
    runs = learning["runs"]
    exact = [steps_of(run) for run in runs if (run["compute"], run["mu"]) == ("fp32", 1e-3)]
    for compute, mu in dict.fromkeys((run["compute"], run["mu"]) for run in runs):
        mine = [run for run in runs if (run["compute"], run["mu"]) == (compute, mu)]
        reached = [run["seconds_to_target"] for run in mine]
        times = ", ".join("not reached" if one is None else f"{one:.1f}" for one in reached)
        steps = ", ".join(str(run["steps_to_target"] or "not reached") for run in mine)
        factor, error = step_factor([steps_of(run) for run in mine], exact)
        whole = ", ".join(f"{run['curve'][-1][0]:.1f}" for run in mine)
        losses = ", ".join(f"{run['curve'][-1][-1]:.4f}" for run in mine)
        named = f"{mu:g}" + (", the default" if mu == DEFAULT_MUS[compute] else "")
        lines.append(
            f"| {compute} | {named} | {times} | {steps} | {factor:.2f} ({error:.2f}) | {whole} "
            f"| {losses} |"
        )
    return "\n".join(lines)


def report(results: dict[str, Any]) -> str:
    parts = [f"`{results['command']}`"]
    if "slopes" in results:
        parts += [
            f"Correlation of {results['samples']} slopes on the demo model with the exact "
            "directional derivatives:",
            slopes_table(results["slopes"], "correlation"),
        ]
    parts += [
        f"Wall time of trainings of {results['steps']} steps on the demo model from a held-out "
        f"loss of {results['learning']['start']:.4f} to one of {results['learning']['target']:.4f},"
        " which every float32 training has at its end:",
        learning_table(results["learning"]),
    ]
    if "large" in results:
        share = max(row["integers"] for row in results["large"])
        parts += [
            "On the checkpoint, random weights of Stable Diffusion 1.5's shape, eight directions "
            f"at each of two (t, z, eps), with int8 in {100 * share:.1f} % of the multiply-adds. "
            "Correlation with the exact directional derivatives:",
            slopes_table(results["large"], "correlation"),
            "Root mean square of the errors over that of the derivatives:",
            slopes_table(results["large"], "error"),
        ]
    return "\n\n".join([*parts, machine_list(results["machine"])]) + "\n"


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m zoodip.bench numerics", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--samples", type=int, default=256, help="default: %(default)s")
    parser.add_argument("--steps", type=int, default=1200, help="default: %(default)s")
    parser.add_argument("--seeds", type=int, default=8, help="default: %(default)s")
    parser.add_argument(
        "--only-trainings", action="store_true", help="no slopes; each type at its default mu"
    )
    parser.add_argument("--checkpoint", type=Path, help="a model of Stable Diffusion 1.5's shape")
    parser.add_argument("--out", type=Path, default=RESULTS, help="default: results/numerics")
    options = parser.parse_args(arguments)
    results: dict[str, Any] = {
        "command": shlex.join(["python", "-m", "zoodip.bench", "numerics", *arguments]),
        "machine": describe(torch.get_num_threads())["machine"],
        "samples": options.samples,
        "steps": options.steps,
    }
    mus = {compute: [mu] for compute, mu in DEFAULT_MUS.items()}
    if not options.only_trainings:
        results["slopes"] = on_the_demo_model(options.samples)
        mus = mus_to_train_with(results["slopes"])
    results["learning"] = wall_times(mus, options.steps, options.seeds)
    if options.checkpoint:
        results["large"] = on_a_large_model(options.checkpoint)
    options.out.mkdir(parents=True, exist_ok=True)
    write_text(options.out / "report.md", report(results))
    write_text(options.out / "results.json", json.dumps(results, indent=1) + "\n")
