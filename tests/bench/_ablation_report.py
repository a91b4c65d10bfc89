"""The tables, JSON and plot that are made of the ablation's results."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from ._ablation_cells import BASELINE, Section, passes_a_step
from ._ablation_numbers import (
    BEFORE,
    CONFIDENCE,
    GRADIENT,
    NO_DIFFERENCE,
    TOO_FEW,
    Line,
    Run,
    lines_of,
    shares_of,
)
from ._jobs import cores, write_text


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
                axes.axvline(line.share, color="grey", linestyle=":")
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
    minutes = sum(run.seconds for run in runs) / 60
    parts += ["## Made by", f"`{command}`: {minutes:.0f} minutes of one core; {_machine()}."]
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
