"""Results of the learning benchmark, and the table, JSON and plot that are made of them."""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._jobs import write_text


@dataclass
class Result:
    """One method on one subject with one seed."""

    subject: str
    seed: int
    method: str
    initialiser: str
    loss: float  # on the fixed tuples
    similarity: float
    attributes: float  # share of the subject's attributes that the pictures are read to have
    place: float  # share of pictures before the prompted background
    passes: int  # of the UNet; for the gradient those of its best run, forward alone
    seconds: float
    curve: list[tuple[int, float]]  # UNet passes, held-out loss; empty where no word moves


LEAST_GAIN = 0.03  # of the gradient, for a subject to be worth measuring on

Runs = dict[tuple[str, int], Result]  # by subject and seed


def by_method(results: list[Result]) -> dict[str, Runs]:
    """In the order in which methods first occur."""
    found: dict[str, Runs] = {}
    for result in results:
        found.setdefault(result.method, {})[(result.subject, result.seed)] = result
    return found


def share_of_gradient(
    results: list[Result], method: str, other: str = "initialiser", draws: int = 4000
) -> tuple[float, float, float]:
    """sum(loss(other) - loss(method)) / sum(loss(initialiser) - loss(gradient)), and the ends of
    its 95 % interval by a paired bootstrap over subjects, each with its seeds: runs on one subject
    are alike."""
    runs = by_method(results)
    before, gradient = runs["initialiser"], runs["gradient"]
    gains = {subject: np.zeros(2) for subject, _ in before}
    for key, start in before.items():
        gains[key[0]] += (
            runs[other][key].loss - runs[method][key].loss,
            start.loss - gradient[key].loss,
        )
    by_subject = np.array(list(gains.values()))
    count = len(by_subject)
    chosen = np.random.default_rng(0).integers(count, size=(draws, count))
    pooled = by_subject[chosen].sum(1)
    low, high = np.percentile(pooled[:, 0] / pooled[:, 1], [2.5, 97.5])
    total = by_subject.sum(0)
    return float(total[0] / total[1]), float(low), float(high)


def shares(results: list[Result], method: str) -> NDArray[np.float64]:
    """Of each run alone: its part of the gradient's gain."""
    runs = by_method(results)
    before, gradient = runs["initialiser"], runs["gradient"]
    return np.array(
        [
            (before[key].loss - run.loss) / (before[key].loss - gradient[key].loss)
            for key, run in runs[method].items()
        ]
    )


def passes_to(results: list[Result], method: str, part: float) -> float:
    """Passes until a run first has `part` of the gradient's gain, by a line between looks: the
    median over all runs; infinite where half of them do not get there."""
    runs = by_method(results)
    found = []
    for key, run in runs[method].items():
        start, goal = runs["initialiser"][key].loss, runs["gradient"][key].loss
        wanted = start - part * (start - goal)
        passes = float("inf")
        for (first, high), (last, low) in itertools.pairwise(run.curve):
            if low <= wanted:
                passes = first + (last - first) * (high - wanted) / (high - low)
                break
        found.append(passes)
    return float(np.median(found))


def _reached(passes: float) -> str:
    return f"{passes:.0f}" if np.isfinite(passes) else "not"


def _table(results: list[Result]) -> str:
    lines = [
        "| | held-out loss | share of the gradient's gain (95 %) | median of the runs | "
        "similarity | attributes | background | UNet passes | to 50 % | to 90 % |",
        "|-|-|-|-|-|-|-|-|-|-|",
    ]
    for method, runs in by_method(results).items():
        loss, similarity, attributes, place, passes = np.mean(
            [(r.loss, r.similarity, r.attributes, r.place, r.passes) for r in runs.values()],
            axis=0,
        )
        share, low, high = share_of_gradient(results, method)
        moves = all(run.curve for run in runs.values())
        reached = [_reached(passes_to(results, method, p)) if moves else "" for p in (0.5, 0.9)]
        lines.append(
            f"| {method} | {loss:.5f} | {share:.2f} ({low:.2f} to {high:.2f}) | "
            f"{np.median(shares(results, method)):.2f} | {similarity:.3f} | "
            f"{attributes:.2f} | {place:.2f} | {passes:.0f} | {reached[0]} | {reached[1]} |"
        )
    return "\n".join(lines)


def _subjects(results: list[Result]) -> str:
    """By subject: the gradient's gain in percent of the loss before, and each method's share."""
    runs = by_method(results)
    others = [name for name in runs if name not in ("initialiser", "gradient")]
    lines = [
        "| subject | gradient's gain | " + " | ".join(others) + " |",
        "|-|-|" + "-|" * len(others),
    ]
    for subject in dict.fromkeys(result.subject for result in results):
        totals = {
            method: sum(result.loss for key, result in mine.items() if key[0] == subject)
            for method, mine in runs.items()
        }
        before = totals["initialiser"]
        room = before - totals["gradient"]
        shares = " | ".join(f"{(before - totals[name]) / room:.2f}" for name in others)
        little = "" if room / before >= LEAST_GAIN else f" (below {LEAST_GAIN:.0%})"
        lines.append(f"| {subject.replace('_', ' ')} | {room / before:.1%}{little} | {shares} |")
    return "\n".join(lines)


def _plot(results: list[Result], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    runs = by_method(results)
    before, gradient = runs["initialiser"], runs["gradient"]
    figure, axes = pyplot.subplots(figsize=(8, 4.5))
    for method, mine in runs.items():
        if not all(result.curve for result in mine.values()):
            continue
        of_runs = np.array(
            [
                [
                    (start.loss - loss) / (start.loss - gradient[key].loss)
                    for _, loss in mine[key].curve
                ]
                for key, start in before.items()
            ]
        )
        passes = [passes for passes, _ in next(iter(mine.values())).curve]
        low, middle, high = np.percentile(of_runs, [25, 50, 75], axis=0)
        (line,) = axes.plot(passes, middle, marker="o", markersize=3, label=method)
        axes.fill_between(passes, low, high, color=line.get_color(), alpha=0.12, linewidth=0)
    axes.axhline(1.0, color="black", linewidth=1, label="gradient descent, best of three rates")
    axes.set_xlabel("UNet passes; a forward and backward one count as three")
    axes.set_ylabel("share of the gradient's gain, held-out loss")
    axes.set_ylim(-0.05, 1.1)
    axes.legend(loc="lower right", fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=90)


def report(
    results: list[Result], settings: dict[str, Any], pairs: list[tuple[str, str]], out: Path
) -> str:
    """Writes table.md, results.json and curves.png; returns the table.

    `settings` are told in the JSON; `pairs` are methods to compare, the first less the second.
    """
    out.mkdir(parents=True, exist_ok=True)
    differences = {f"{one} less {other}": share_of_gradient(results, one, other)
                   for one, other in pairs}  # fmt: skip
    compared = "\n".join(
        f"- {name}: {d:+.2f} ({low:+.2f} to {high:+.2f}) of the gradient's gain, paired: "
        + ("better" if low > 0 else "worse" if high < 0 else "no difference beyond chance")
        for name, (d, low, high) in differences.items()
    )
    text = "\n\n".join([_table(results), compared, _subjects(results)]) + "\n"
    write_text(out / "table.md", text)
    content = settings | {
        "shares": {method: share_of_gradient(results, method) for method in by_method(results)},
        "differences": differences,
        "results": [asdict(result) for result in results],
    }
    write_text(out / "results.json", json.dumps(content, indent=1) + "\n")
    _plot(results, out / "curves.png")
    return text
