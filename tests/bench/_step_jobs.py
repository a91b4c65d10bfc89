"""The jobs of the step benchmark: what is run for which rows, alternating, each in a process of its
own."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ._step_model import Model, Setup, make_images, warm
from ._step_worker import ask


@dataclass(frozen=True)
class Job:
    """A run of ours or of the reference's; jobs of one name are the same."""

    side: str  # "ours", "reference"
    what: str  # "train", "gradient", "encode"
    compute: str = "fp32"
    weights: str = "int8"
    repeat: int = 1  # times the steps of others: of short steps more are timed

    @property
    def name(self) -> str:
        weights = "" if self.side == "reference" else f" {self.weights}"
        return f"{self.side} {self.what}{weights} {self.compute}"


def _ours(compute: str, weights: str = "int8", what: str = "train", repeat: int = 1) -> Job:
    return Job("ours", what, compute, weights, repeat)


# By row: ours, then what it is compared with.
ROWS: dict[str, tuple[Job, ...]] = {
    "fp32": (_ours("fp32"), Job("reference", "train", "fp32")),
    "bf16": (_ours("bf16", repeat=3), Job("reference", "train", "bf16")),
    "int8": (_ours("int8", repeat=3), Job("reference", "train", "bf16")),
    # What a user gets who chooses nothing, beside the reference in the type that is faster there.
    "default": (
        _ours("auto"),
        Job("reference", "train", "fp32"),
        Job("reference", "train", "bf16"),
    ),
    "exact": (_ours("auto", what="gradient"), Job("reference", "gradient", "fp32")),
    "int4": (_ours("fp32", weights="int4"), _ours("fp32")),
    "vae": (
        _ours("bf16", what="encode"),
        Job("reference", "encode", "bf16"),
        _ours("fp32", what="encode"),
        Job("reference", "encode", "fp32"),
    ),
}

# The types that a step of each kind may compute in. Attention has no bare call in integers.
ALLOWED = {"fp32": ("fp32",), "bf16": ("fp32", "bf16"), "int8": ("fp32", "bf16", "int8")}


def jobs_of(rows: list[str], reference: tuple[str, ...] = ("fp32", "bf16")) -> list[Job]:
    """In order, without repetitions: ours and the reference's in turn. reference: its types that
    the default is held against."""

    def wanted(row: str, job: Job) -> bool:
        return row != "default" or job.side == "ours" or job.compute in reference

    return list(dict.fromkeys(job for row in rows for job in ROWS[row] if wanted(row, job)))


@dataclass(frozen=True)
class Bench:
    """What the jobs run on."""

    model: Model
    work: Path
    path: dict[str, str]  # of quanto's linear layers, by compute type

    def run(self, job: Job, setup: Setup) -> dict[str, Any]:
        """The worker's answer, from files that lie in the cache."""
        warm(self.model.files())
        setup = replace(setup, steps=setup.steps * job.repeat)
        return getattr(self, f"_{job.side}")(job, setup)

    def floor(self, computes: list[str], budget: float, setup: Setup) -> dict[str, Any]:
        settings = setup.request("n", "resolution", "threads")
        shape = self.model.shape
        return ask("_step_floor.floor", shape=shape, computes=computes, budget=budget, **settings)

    def _ours(self, job: Job, setup: Setup) -> dict[str, Any]:
        checkpoint = str(self.model.checkpoint)
        if job.what == "encode":
            settings = setup.request("resolution", "steps", "threads")
            return ask("_step_ours.encode", checkpoint=checkpoint, compute=job.compute, **settings)
        method = {"train": "rge", "gradient": "exact"}[job.what]
        return ask(
            "_step_ours.train",
            checkpoint=checkpoint,
            images=str(make_images(self.work, setup.resolution)),
            weights=job.weights,
            compute=job.compute,
            method=method,
            **setup.request("resolution", "n", "threads", "steps"),
        )

    def _reference(self, job: Job, setup: Setup) -> dict[str, Any]:
        folder = str(self.model.folder)
        settings = setup.request("resolution", "threads", "steps")
        if job.what == "gradient":
            return ask("_step_gradient.train", folder=folder, **settings)
        quantised = {"compute": job.compute, "path": self.path[job.compute], "folder": folder}
        if job.what == "encode":
            return ask("_step_reference.encode_steps", **quantised, **settings)
        return ask("_step_reference.train", n=setup.n, **quantised, **settings)


def faster_path(model: Model, setup: Setup) -> dict[str, float]:
    """Seconds of a bf16 step by each of quanto's linear paths."""
    warm(model.files())
    settings = setup.request("resolution", "threads")
    return ask("_step_reference.linear_paths", folder=str(model.folder), compute="bf16", **settings)


@dataclass(frozen=True)
class Rounds:
    """A round runs every job once, every second round from the last to the first, and then the
    floor for `computes`, if there are any, with `budget` seconds for each bare call."""

    jobs: list[Job]
    computes: list[str]
    budget: float
    count: int


def run_rounds(
    bench: Bench, setup: Setup, rounds: Rounds, say: Callable[[str], None]
) -> Iterator[tuple[dict[str, list[dict[str, Any]]], list[dict[str, Any]]]]:
    """After each round, what was answered so far: by the name of the job, and of the floor."""
    answers: dict[str, list[dict[str, Any]]] = {job.name: [] for job in rounds.jobs}
    floors: list[dict[str, Any]] = []
    for number in range(1, rounds.count + 1):
        for job in rounds.jobs if number % 2 else reversed(rounds.jobs):
            answer = bench.run(job, setup)
            answers[job.name].append(answer)
            say(f"round {number}, {job.name}: {statistics.median(answer['steps']):.3f} s a step")
        if rounds.computes:
            floors.append(bench.floor(rounds.computes, rounds.budget, setup))
            say(f"round {number}, floor")
        yield answers, floors
