"""Results of the learning benchmark, and the table, JSON and plot that are made of them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

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
    # (UNet passes, held-out loss, similarity, attributes); empty where the word does not move
    curve: list[tuple[int, float, float, float]]


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


def _table(results: list[Result]) -> str:
    lines = [
        "| | held-out loss | share of the gradient's gain (95 %) | similarity | attributes | "
        "background | UNet passes |",
        "|-|-|-|-|-|-|-|",
    ]
    for method, runs in by_method(results).items():
        loss, similarity, attributes, place, passes = np.mean(
            [(r.loss, r.similarity, r.attributes, r.place, r.passes) for r in runs.values()],
            axis=0,
        )
        share, low, high = share_of_gradient(results, method)
        lines.append(
            f"| {method} | {loss:.5f} | {share:.2f} ({low:.2f} to {high:.2f}) | {similarity:.3f} | "
            f"{attributes:.2f} | {place:.2f} | {passes:.0f} |"
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
    before = runs["initialiser"]
    room = sum(start.loss - runs["gradient"][key].loss for key, start in before.items())
    goal = {"similarity": 0.0, "attributes": 0.0}
    for name in goal:
        goal[name] = float(np.mean([getattr(r, name) for r in runs["gradient"].values()]))
    figure, (top, left, right) = pyplot.subplots(1, 3, figsize=(13, 4))
    for method, mine in runs.items():
        if not all(result.curve for result in mine.values()):
            continue
        curves = np.array([mine[key].curve for key in before])  # [runs, looks, 4]
        passes, losses = curves[0, :, 0], curves[:, :, 1]
        top.plot(passes, (losses[:, :1] - losses).sum(0) / room, marker="o", label=method)
        left.plot(passes, curves[:, :, 2].mean(0), marker="o")
        right.plot(passes, curves[:, :, 3].mean(0), marker="o")
    described = sum(start.loss - runs["description"][key].loss for key, start in before.items())
    top.axhline(described / room, color="grey", linestyle=":", label="full description in words")
    for axes, level in ((top, 1.0), (left, goal["similarity"]), (right, goal["attributes"])):
        axes.axhline(level, color="black", linewidth=1, label="gradient descent")
        axes.set_xlabel("UNet forward passes")
    top.set_title("share of the gradient's gain in held-out loss")
    left.set_title("similarity to the subject's pictures")
    right.set_title("attributes drawn as the subject's")
    top.legend()
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
