"""Rows of the step benchmark's table: a figure, what it is held against, and the goals."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ._step_jobs import ALLOWED, ROWS, Job

GB = 1e9
STEP = "s a step"
Answers = dict[str, list[dict[str, Any]]]  # by job, one a round
Floors = list[dict[str, Any]]  # one a round
NAMES = {
    "fp32": "INT8 weights, fp32 activations",
    "bf16": "INT8 weights, bf16 products",
    "int8": "INT8 weights and activations",
}
Goals = tuple[float, float] | tuple[None, None]  # target, stretch
NO_GOALS: Goals = (None, None)
# Of the larger families, of which no floor is taken.
OTHER_GOALS: dict[str, Goals] = {"bf16": (0.35, 0.30)}
STEP_GOALS: dict[str, Goals] = {"fp32": (0.32, 0.27), "bf16": (0.50, 0.45), "int8": (0.34, 0.29)}


@dataclass(frozen=True)
class Row:
    """`ours` and `against` hold one value a round, in `unit`. The goals hold for the median of the
    rounds' ratios, or for the median of ours where there is nothing to divide by. `all_of_ours`:
    every step, where a value is of several."""

    name: str
    unit: str
    ours: tuple[float, ...]
    against: tuple[float, ...] = ()
    other: str = ""  # what `against` is
    target: float | None = None
    stretch: float | None = None
    all_of_ours: tuple[float, ...] = ()

    def ratios(self) -> list[float]:
        return [mine / theirs for mine, theirs in zip(self.ours, self.against, strict=True)]

    def figure(self) -> float:
        """What the goals are for."""
        return statistics.median(self.ratios() if self.against else self.ours)

    def verdict(self) -> str:
        if self.target is None:
            return ""
        if self.stretch is not None and self.figure() <= self.stretch:
            return "stretch"
        return "met" if self.figure() <= self.target else "missed"


def seconds(answers: list[dict[str, Any]]) -> tuple[float, ...]:
    """Of a step in each round: the median of the round's steps."""
    return tuple(statistics.median(answer["steps"]) for answer in answers)


def every(answers: list[dict[str, Any]]) -> tuple[float, ...]:
    """The seconds of all steps of all rounds."""
    return tuple(step for answer in answers for step in answer["steps"])


def peaks(answers: list[dict[str, Any]]) -> tuple[float, ...]:
    """GB at the peak of the whole process."""
    return tuple(max(a["loading_peak"], a["training_peak"]) / GB for a in answers)


def values(answers: list[dict[str, Any]], name: str, scale: float = 1.0) -> tuple[float, ...]:
    return tuple(answer[name] / scale for answer in answers)


def without_vae(answers: list[dict[str, Any]]) -> tuple[float, ...]:
    """Of a reference's step, the rest: the median of the round's steps."""
    return tuple(
        statistics.median(
            step - split["vae"] for step, split in zip(a["steps"], a["split"], strict=True)
        )
        for a in answers
    )


def beside_reference(
    name: str, ours: list[dict[str, Any]], theirs: list[dict[str, Any]], other: str, goals: Goals
) -> Iterator[Row]:
    """The reference encodes the picture in each step, as its script does; ours does so once, before
    the first. The second row is of the rest alone."""
    mine, steps = seconds(ours), every(ours)
    yield Row(name, STEP, mine, seconds(theirs), other, *goals, steps)
    yield Row(name, STEP, mine, without_vae(theirs), f"{other} less its VAE", all_of_ours=steps)


def step_rows(answers: Answers, row: str, goals: dict[str, Goals]) -> Iterator[Row]:
    ours, theirs = (answers[job.name] for job in ROWS[row])
    other = f"{ROWS[row][1].compute} reference"
    yield from beside_reference(NAMES[row], ours, theirs, other, goals.get(row, NO_GOALS))


def taken(answers: list[dict[str, Any]]) -> str:
    """The products that `auto` took."""
    return " or ".join(dict.fromkeys(answer["compute"] for answer in answers))


def default_rows(answers: Answers, goals: Goals, peak: Goals) -> Iterator[Row]:
    mine = answers[ROWS["default"][0].name]
    run = {job.compute: answers[job.name] for job in ROWS["default"][1:] if job.name in answers}
    compute = min(run, key=lambda one: statistics.median(seconds(run[one])))
    theirs = run[compute]
    name = f"default ({taken(mine)})"
    other = f"{compute} reference" + (", the faster" if len(run) > 1 else "")
    yield from beside_reference(name, mine, theirs, other, goals)
    yield Row(f"peak memory, {name}", "GB", peaks(mine), (), "", *peak)


def floor_of(floors: Floors, row: str) -> dict[str, float]:
    """Seconds by part and kind of product: of each the fastest run of all rounds, in its fastest
    allowed type."""
    total: dict[str, float] = {}
    for same in zip(*(floor["products"] for floor in floors), strict=True):
        rates = [
            one["rates"][kind] for one in same for kind in ALLOWED[row] if kind in one["rates"]
        ]
        name = f"{same[0]['part']} {same[0]['kind']}"
        total[name] = total.get(name, 0) + same[0]["count"] * same[0]["flops"] / max(rates)
    return total


def floor_rows(answers: Answers, row: str, floors: Floors) -> Iterator[Row]:
    """Both are the fastest of all rounds, or else what neighbours take of the machine would count
    on one side alone."""
    fastest = min(every(answers[ROWS[row][0].name]))
    name = f"{NAMES[row]}, the fastest step"
    yield Row(
        name, "s", (fastest,), (sum(floor_of(floors, row).values()),), "arithmetic floor", 1.3, 1.2
    )


def memory_rows(answers: Answers, row: str, goals: Goals) -> Iterator[Row]:
    """`zoodip train`, the whole process; encoding the pictures counts as loading."""
    ours, theirs = (answers[job.name] for job in ROWS[row])
    name, other = NAMES[row], f"{ROWS[row][1].compute} reference's"
    yield Row(f"peak memory, {name}", "GB", peaks(ours), (), "", *goals)
    loading, training = (
        (values(ours, f"{part}_peak", GB), values(theirs, f"{part}_peak", GB))
        for part in ("loading", "training")
    )
    yield Row(f"peak in training, {name}", "GB", *training, other)
    yield Row(f"peak while loading, {name}", "GB", *loading, other)
    yield Row(f"peak while loading, {name}", "GB", loading[0], training[0], "its training's", 1.0)


def int4_rows(answers: Answers) -> Iterator[Row]:
    ours, int8 = (answers[job.name] for job in ROWS["int4"])
    name, steps = "INT4 UNet, fp32 products", every(ours)
    yield Row(name, STEP, seconds(ours), seconds(int8), "INT8", 1.3, None, steps)
    yield Row(f"peak memory, {name}", "GB", peaks(ours), (), "", 1.2, 1.0)


def load_rows(answers: Answers, row: str) -> Iterator[Row]:
    ours, theirs = (values(answers[job.name], "load") for job in ROWS[row])
    other = f"{ROWS[row][1].compute} reference's load"
    yield Row(f"weights ready, {NAMES[row]}", "s", ours, theirs, other, 1 / 3, 1 / 5)


def exact_rows(answers: Answers) -> Iterator[Row]:
    ours, theirs = (answers[job.name] for job in ROWS["exact"])
    name, other = f"exact gradient, INT8, {taken(ours)} products", "fp32 textual inversion"
    yield from beside_reference(name, ours, theirs, other, (0.40, 0.30))
    same = answers.get(f"ours train int8 {taken(ours)}")
    if same:
        yield Row(
            name, STEP, seconds(ours), seconds(same), "an estimate's", 1.15, None, every(ours)
        )
    yield Row(f"peak memory, {name}", "GB", peaks(ours), (), "", 1.45, None)
    training = (values(answers, "training_peak", GB) for answers in (ours, theirs))
    yield Row(f"peak in training, {name}", "GB", *training, f"{other}'s")


def vae_rows(answers: Answers) -> Iterator[Row]:
    jobs = ROWS["vae"]
    for ours, theirs in zip(jobs[::2], jobs[1::2], strict=True):
        goals = (0.6, 0.5) if ours.compute == "bf16" else (None, None)
        mine, other = answers[ours.name], f"{theirs.compute} reference"
        both = seconds(mine), seconds(answers[theirs.name])
        name = f"VAE encode, INT8 weights, {ours.compute}"
        yield Row(name, "s a picture", *both, other, *goals, every(mine))


def all_rows(answers: Answers, floors: Floors, sets: Sequence[str] = ("avx512f",)) -> list[Row]:
    """Those whose jobs were run; `sets`: the processor's instruction sets."""
    there = [row for row, jobs in ROWS.items() if all(job.name in answers for job in jobs)]
    steps = [row for row in there if row in NAMES]
    # Goals are for Stable Diffusion 1.5's shape, the one whose floor is taken, or say otherwise.
    own = bool(floors)
    time = (0.20, 0.16) if "avx512f" in sets else (0.40, 0.33)
    default = (time, (1.2, 1.1)) if own else (OTHER_GOALS["bf16"], NO_GOALS)
    ours, *theirs = (job.name for job in ROWS["default"])
    rows: list[Row] = []
    if ours in answers and any(name in answers for name in theirs):
        rows += default_rows(answers, *default)
    for name in steps:
        rows += step_rows(answers, name, STEP_GOALS if own else OTHER_GOALS)
    for name in steps if own else ():
        rows += floor_rows(answers, name, floors)
    for name in steps:
        rows += memory_rows(answers, name, (1.6, 1.3) if own else NO_GOALS)
    rows += int4_rows(answers) if "int4" in there else ()
    rows += exact_rows(answers) if "exact" in there else ()
    rows += [row for name in steps for row in load_rows(answers, name)]
    rows += vae_rows(answers) if "vae" in there else ()
    return rows


def reference_lines(answers: Answers) -> Iterator[tuple[Job, dict[str, float]]]:
    """The reference's own figures: medians over rounds of seconds and GB."""
    median: Callable[[tuple[float, ...]], float] = statistics.median
    for job in dict.fromkeys(job for jobs in ROWS.values() for job in jobs):
        if job.side == "ours" or job.what == "encode" or job.name not in answers:
            continue
        mine = answers[job.name]
        figures = {"step": median(seconds(mine))}
        for part in mine[0]["split"][0]:
            figures[part] = statistics.median(s[part] for a in mine for s in a["split"])
        figures["load"] = median(values(mine, "load"))
        figures["peak while loading"] = median(values(mine, "loading_peak", GB))
        figures["peak in training"] = median(values(mine, "training_peak", GB))
        yield job, figures
