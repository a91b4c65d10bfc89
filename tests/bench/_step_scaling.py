"""Seconds of a step against the number of points, the resolution and the threads."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ._jobs import write_text
from ._step_jobs import Bench, Job
from ._step_model import Setup
from ._step_report import machine_list, number


@dataclass(frozen=True)
class Axes:
    """What is varied, one at a time from the setup of the table."""

    n: tuple[int, ...]
    resolution: tuple[int, ...]
    threads: tuple[int, ...]


FULL = Axes((1, 2, 4, 8), (256, 512, 768), (1, 2))
QUICK = Axes((1, 2), (64, 128), (1, 2))
LABELS = {"n": "n, perturbed points", "resolution": "resolution (pixels)", "threads": "threads"}


@dataclass(frozen=True)
class Point:
    """One job in one setup."""

    job: Job
    setup: Setup

    def told(self, answer: dict[str, Any]) -> dict[str, Any]:
        """With the median of the steps, and of what the reference spends on the picture in each."""
        steps = {"steps": answer["steps"], "seconds": statistics.median(answer["steps"])}
        if "split" in answer:
            steps["vae"] = statistics.median(split["vae"] for split in answer["split"])
        return {"job": self.job.name} | asdict(self.setup) | steps


def points_of(jobs: Sequence[Job], axes: Axes, setup: Setup) -> list[Point]:
    """Without repetitions, for the setup itself lies on every axis; the jobs in turn."""
    setups = [
        replace(setup, **{name: value}) for name, values in asdict(axes).items() for value in values
    ]
    return [Point(job, one) for one in dict.fromkeys(setups) for job in jobs]


def measure(
    bench: Bench, points: list[Point], say: Callable[[str], None]
) -> Iterator[list[dict[str, Any]]]:
    """After each point, all so far."""
    found = []
    for point in points:
        found.append(point.told(bench.run(point.job, point.setup)))
        setup = point.setup
        say(
            f"{point.job.name}, n {setup.n}, {setup.resolution} pixels, {setup.threads} threads: "
            f"{found[-1]['seconds']:.3f} s a step"
        )
        yield found


def along(
    found: list[dict[str, Any]], job: str, axis: str, setup: Setup
) -> list[tuple[int, float]]:
    """(value, seconds) of the points that differ from the setup in `axis` alone."""
    others = [name for name in LABELS if name != axis]
    return sorted(
        (point[axis], point["seconds"])
        for point in found
        if point["job"] == job and all(point[name] == getattr(setup, name) for name in others)
    )


def table(found: list[dict[str, Any]], setup: Setup) -> str:
    lines = ["| seconds a step | against | |", "|-|-|-|"]
    for job in dict.fromkeys(point["job"] for point in found):
        for axis in LABELS:
            cells = [f"{value}: {number(s)}" for value, s in along(found, job, axis, setup)]
            lines.append(f"| {job} | {axis} | {', '.join(cells)} |")
    return "\n".join(lines)


def plot(found: list[dict[str, Any]], setup: Setup, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(LABELS), figsize=(13, 4))
    for axes, (axis, label) in zip(panels, LABELS.items(), strict=True):
        for job in dict.fromkeys(point["job"] for point in found):
            pairs = along(found, job, axis, setup)
            style = "--" if job.startswith("reference") else "-"
            if pairs:
                axes.plot(*zip(*pairs, strict=True), style, marker="o", label=job)
        axes.set_xlabel(label)
        axes.set_xticks(sorted({point[axis] for point in found}))
        axes.set_ylim(bottom=0)
    panels[0].set_ylabel("seconds a step")
    panels[0].legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(path, dpi=90)


def report(found: list[dict[str, Any]], setup: Setup, about: dict[str, Any], out: Path) -> str:
    """Writes scaling.md, scaling.json and scaling.png; returns the table. `about`: command, machine
    and shape."""
    out.mkdir(parents=True, exist_ok=True)
    fixed = (
        f"A model of the shape {about['shape']}; what is not varied is n = {setup.n}, "
        f"{setup.resolution} x {setup.resolution}, {setup.threads} threads. Of each the median of "
        f"{setup.steps} steps after one to warm up. The reference encodes the picture in every "
        "step."
    )
    parts = [f"`{about['command']}`", fixed, table(found, setup), "![](scaling.png)"]
    text = "\n\n".join([*parts, machine_list(about["machine"])]) + "\n"
    write_text(out / "scaling.md", text)
    write_text(out / "scaling.json", json.dumps(about | {"points": found}, indent=1) + "\n")
    plot(found, setup, out / "scaling.png")
    return text
