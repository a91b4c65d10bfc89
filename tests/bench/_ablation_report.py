"""Results of the ablation, and the tables, JSON and plot that are made of them.

A run's share is (loss before - its loss) / (loss before - loss of gradient descent). Cells are
compared pair by pair: the same subject, the same seed. The two subjects are taken as they are; what
chance there is lies between seeds.
"""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev, variance
from typing import Any

import torch

from ._ablation_cells import BASELINE, Row, Section, passes_a_step, steps_of
from ._jobs import cores, write_text

BEFORE, GRADIENT = "initialiser", "gradient"  # the references: 0 and 1
CONFIDENCE = 0.95  # two-sided, that a difference is not chance
NO_DIFFERENCE = "no difference beyond chance"
TOO_FEW = "too few runs to say"


@dataclass(frozen=True)
class Run:
    """What one cell, or a reference, reached on one subject with one seed."""

    cell: str
    subject: str
    seed: int
    loss: float  # on the fixed tuples
    passes: int
    seconds: float
    refused: str = ""  # what the engine said instead


Shares = Mapping[tuple[str, int], float]  # by subject and seed


def shares_of(runs: list[Run]) -> dict[str, dict[tuple[str, int], float]]:
    """Of the gradient's gain, by cell. Raises ValueError where a reference is missing."""
    ends = {(run.cell, run.subject): run.loss for run in runs if run.cell in (BEFORE, GRADIENT)}
    found: dict[str, dict[tuple[str, int], float]] = {}
    for run in runs:
        if run.refused or run.cell in (BEFORE, GRADIENT):
            continue
        if not {(BEFORE, run.subject), (GRADIENT, run.subject)} <= set(ends):
            raise ValueError(f"{run.subject}: neither before nor gradient descent is measured")
        before, gradient = ends[BEFORE, run.subject], ends[GRADIENT, run.subject]
        share = (before - run.loss) / (before - gradient)
        found.setdefault(run.cell, {})[run.subject, run.seed] = share
    return found


def over_seeds(shares: Shares) -> tuple[float, float | None]:
    """Mean and deviation over seeds of the mean over subjects; no deviation of one seed. A seed
    that not all subjects have is left out while it is not the only one."""
    subjects = {subject for subject, _ in shares}
    by_seed = {
        seed: [share for (_, other), share in shares.items() if other == seed]
        for seed in sorted({seed for _, seed in shares})
    }
    whole = [mean(mine) for mine in by_seed.values() if len(mine) == len(subjects)]
    means = whole or [mean(mine) for mine in by_seed.values()]
    return mean(means), stdev(means) if len(means) > 1 else None


@dataclass(frozen=True)
class Difference:
    """Of two cells, the first less the second, over the runs that both have."""

    mean: float
    error: float | None  # standard error; None for one seed
    freedom: int  # degrees of it

    @property
    def verdict(self) -> str:
        """Of the first cell: better, worse, or not told apart (Student's t)."""
        from scipy.stats import t

        if self.error is None:
            return TOO_FEW
        bound = float(t.ppf((1 + CONFIDENCE) / 2, self.freedom)) * self.error
        if abs(self.mean) <= bound:
            return NO_DIFFERENCE
        return "better" if self.mean > 0 else "worse"


def difference(mine: Shares, other: Shares) -> Difference | None:
    """The mean over subjects of the mean paired difference, and its error: the variance within
    subjects, pooled. None where the cells share no run."""
    by_subject: dict[str, list[float]] = {}
    for subject, seed in sorted(mine.keys() & other.keys()):
        apart = mine[subject, seed] - other[subject, seed]
        by_subject.setdefault(subject, []).append(apart)
    if not by_subject:
        return None
    groups = list(by_subject.values())
    middle = mean(mean(group) for group in groups)
    freedom = sum(len(group) - 1 for group in groups)
    if freedom == 0:
        return Difference(middle, None, 0)
    squares = sum(variance(group) * (len(group) - 1) for group in groups if len(group) > 1)
    scale = sum(1 / len(group) for group in groups) / len(groups) ** 2
    return Difference(middle, math.sqrt(squares / freedom * scale), freedom)


def paper_says(row: Row, other: Row) -> str:
    """By its text, else by its scores of both rows; mixed where those disagree."""
    if row.says:
        return row.says
    names = row.scores.keys() & other.scores.keys()
    signs = {(row.scores[name] > other.scores[name]) for name in names}
    if not signs:
        return ""
    return "mixed" if len(signs) > 1 else "better" if signs.pop() else "worse"


def agreement(paper: str, ours: str) -> str:
    """The paper's verdict of a row beside that of `Difference`."""
    if not paper:
        return ""
    if ours == TOO_FEW:
        return ours
    if paper == "same":
        return "agrees" if ours == NO_DIFFERENCE else "does not agree"
    if ours == NO_DIFFERENCE:
        return ours
    if paper == "mixed":
        return "the paper is undecided"
    return "agrees" if paper == ours else "does not agree"


@dataclass(frozen=True)
class Line:
    """A row with what was measured of it; nothing where it was not."""

    row: Row
    steps: int
    share: float | None = None
    deviation: float | None = None
    other: Row | None = None
    less: Difference | None = None
    paper: str = ""
    verdict: str = ""


def lines_of(section: Section, shares: Mapping[str, Shares], passes: int) -> list[Line]:
    found = []
    for row in section.rows:
        steps, other, mine = (
            steps_of(row.settings, passes),
            section.other(row),
            shares.get(row.name),
        )
        if not mine:
            found.append(Line(row, steps))
            continue
        paper = paper_says(row, other) if other else ""
        less = difference(mine, shares.get(other.name, {})) if other else None
        verdict = agreement(paper, less.verdict) if less else ""
        found.append(Line(row, steps, *over_seeds(mine), other, less, paper, verdict))
    return found


def _with_spread(value: float | None, spread: float | None, form: str) -> str:
    if value is None:
        return "not measured"
    return f"{value:{form}}" + ("" if spread is None else f" ({spread:.2f})")


def _table(lines: list[Line], refused: Mapping[str, str]) -> str:
    out = [
        "| | steps x passes | share of the gradient's gain (deviation) | difference (standard "
        "error) | here | paper's CLIP-I, DINO | paper | verdict |",
        "|-|-|-|-|-|-|-|-|",
    ]
    for line in lines:
        row, less = line.row, line.less
        apart = (
            f"{_with_spread(less.mean, less.error, '+.2f')} to {line.other.label}" if less else ""
        )
        scores = ", ".join(f"{score:.3f}".lstrip("0") for score in row.scores.values())
        passes = f"{line.steps} x {passes_a_step(row.settings)}"
        share = _with_spread(line.share, line.deviation, ".2f")
        out.append(
            f"| {row.label} | {passes} | {share} | {apart} | {less.verdict if less else ''} | "
            f"{scores} | {line.paper} | {line.verdict} |"
        )
    out += [
        f"\nNot measured: {line.row.label}. {refused[line.row.name]}"
        for line in lines
        if line.share is None and line.row.name in refused
    ]
    return "\n".join(out)


def _orders(lines: list[Line]) -> str:
    """Best first, by each of the paper's scores and by ours, where the paper scores rows."""
    scored = [line for line in lines if line.row.scores and line.share is not None]
    if len(scored) < 2:
        return ""
    orders = {}
    for name in scored[0].row.scores:
        known = [line for line in scored if name in line.row.scores]
        orders[f"the paper by {name}"] = sorted(known, key=lambda line: -line.row.scores[name])
    orders["here"] = sorted(scored, key=lambda line: -line.share)
    return "Best first: " + "; ".join(
        f"{name}: " + " > ".join(line.row.label for line in order) for name, order in orders.items()
    )


def _summary(by_section: Mapping[str, list[Line]]) -> str:
    """How often the paper and this agree, over the rows that the paper decides."""
    lines = [line for lines in by_section.values() for line in lines]
    verdicts = [line.verdict for line in lines if line.verdict]
    kinds = ("agrees", "does not agree", NO_DIFFERENCE, "the paper is undecided", TOO_FEW)
    counted = ", ".join(
        f"{verdicts.count(kind)} {kind}" for kind in kinds if verdicts.count(kind) > 0
    )
    told = {
        (line.row.name, line.other.name)
        for line in lines
        if line.less and line.less.error is not None
    }
    text = f"Of {len(verdicts)} comparisons that the paper makes: {counted or 'none measured'}."
    if told:
        text += (
            f" At {CONFIDENCE:.0%}, {len(told) * (1 - CONFIDENCE):.1f} of the {len(told)} "
            "differences below are expected to come out by chance alone."
        )
    return text


def _how(plan: Any, runs: list[Run]) -> str:
    ends = {(run.cell, run.subject): run.loss for run in runs}
    subjects = "; ".join(
        f"{subject.replace('_', ' ')}, held-out loss {ends[BEFORE, subject]:.5f} before, "
        f"{ends[GRADIENT, subject]:.5f} by gradient descent"
        for subject in plan.subjects
    )
    base = ", ".join(f"{name} {value}" for name, value in BASELINE.items())
    return (
        f"{plan.passes} forward passes of the UNet a run, {plan.seeds} seed"
        f"{'s' if plan.seeds > 1 else ''}; {subjects}. Share: (before - after) / (before - "
        "gradient descent) of the held-out loss, the mean over subjects; its deviation is over "
        "seeds. Differences are paired by subject and seed; their standard error is that of the "
        f"variance over seeds within subjects.\n\nThe baseline: {base}."
    )


def _machine() -> str:
    model = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        names = [
            line.split(":", 1)[1].strip()
            for line in information.read_text("utf-8").splitlines()
            if line.startswith("model name")
        ]
        model = names[0] if names else model
    return (
        f"{model}, {cores()} of {os.cpu_count()} cores, one a run; {platform.system()}, Python "
        f"{platform.python_version()}, torch {torch.__version__}"
    )


def _plot(by_section: Mapping[str, list[Line]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns = 3
    figure, grid = pyplot.subplots(
        -(-len(by_section) // columns), columns, figsize=(15, 13), sharex=True
    )
    for axes in grid.flat[len(by_section) :]:
        axes.axis("off")
    for axes, (title, lines) in zip(grid.flat, by_section.items(), strict=False):
        lines = [line for line in lines if line.share is not None][::-1]
        axes.errorbar(
            [line.share for line in lines],
            range(len(lines)),
            xerr=[line.deviation or 0 for line in lines],
            fmt="o",
            capsize=3,
        )
        for line in lines:
            if not line.row.changes:
                axes.axvline(line.share, color="grey", linestyle=":", label="baseline")
        axes.set_yticks(range(len(lines)), [line.row.label for line in lines])
        axes.set_ylim(-0.5, len(lines) - 0.5)
        axes.set_title(title.replace(" (", "\n(", 1), fontsize=9)
    figure.suptitle("share of the gradient's gain in held-out loss, deviation over seeds")
    figure.tight_layout()
    figure.savefig(path, dpi=80)
    pyplot.close(figure)


def report(runs: list[Run], sections: list[Section], plan: Any, command: str, out: Path) -> str:
    """Writes table.md, results.json and plot.png; returns the tables."""
    out.mkdir(parents=True, exist_ok=True)
    shares = shares_of(runs)
    refused = {run.cell: run.refused for run in runs if run.refused}
    by_section = {section.title: lines_of(section, shares, plan.passes) for section in sections}
    parts = [_how(plan, runs), _summary(by_section)]
    for section in sections:
        lines = by_section[section.title]
        parts += [f"## {section.title}", section.note, _table(lines, refused), _orders(lines)]
    parts += ["## Made by", f"`{command}`: {_machine()}."]
    text = "\n\n".join(part for part in parts if part) + "\n"
    write_text(out / "table.md", text)
    content = {
        "command": command,
        "machine": _machine(),
        "plan": asdict(plan),
        "baseline": BASELINE,
        "sections": {
            title: [asdict(line) for line in lines] for title, lines in by_section.items()
        },
        "runs": [asdict(run) for run in runs],
    }
    write_text(out / "results.json", json.dumps(content, indent=1) + "\n")
    _plot(by_section, out / "plot.png")
    return text
