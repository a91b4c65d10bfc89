"""What the ablation's runs say: shares, differences, and verdicts beside the paper's.

A run's share is (loss before - its loss) / (loss before - loss of gradient descent). Cells are
compared pair by pair: the same subject, the same seed. The two subjects are taken as they are; what
chance there is lies between seeds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import mean, stdev, variance

from ._ablation_cells import Row, Section, steps_of

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
    """Of the gradient's gain, by cell."""
    ends = {(run.cell, run.subject): run.loss for run in runs if run.cell in (BEFORE, GRADIENT)}
    found: dict[str, dict[tuple[str, int], float]] = {}
    for run in runs:
        if run.refused or run.cell in (BEFORE, GRADIENT):
            continue
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
