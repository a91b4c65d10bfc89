"""The table of the step benchmark, its JSON and what is said around them."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ._jobs import write_text
from ._step_rows import GB, Floors, Row, all_rows, floor_of, peaks, reference_lines

# Measured before for the same reference, on an AMD EPYC without AMX, two cores: seconds, GB.
ELSEWHERE = {
    "reference train bf16": {"step": 16.4, "vae": 4.4, "text": 0.25, "unet": 11.7}
    | {"peak in training": 3.1, "peak while loading": 4.8},
    "reference train fp32": {"step": 31.6},
    "reference gradient fp32": {"step": 29.6, "peak in training": 7.4},
}
BRACKETS = "In brackets: measured before on another machine, an AMD EPYC without AMX, two cores."


def number(value: float) -> str:
    """Three digits."""
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def spread(values: Sequence[float], every: Sequence[float] = ()) -> str:
    """The median, with the ends where there are several: of `every`, where that is given."""
    text, ends = number(statistics.median(values)), every or values
    if len(ends) > 1:
        text += f" ({number(min(ends))} to {number(max(ends))})"
    return text


def goals_table(rows: list[Row]) -> str:
    lines = [
        "| | ours | baseline | ratio | target | stretch | verdict |",
        "|-|-|-|-|-|-|-|",
    ]
    for row in rows:
        against = f"{spread(row.against)} ({row.other})" if row.against else ""
        goals = ["" if goal is None else number(goal) for goal in (row.target, row.stretch)]
        ours, ratio = spread(row.ours, row.all_of_ours), spread(row.ratios()) if row.against else ""
        lines.append(
            f"| {row.name} | {ours} {row.unit} | {against} | {ratio} | {goals[0]} | {goals[1]} | "
            f"{row.verdict()} |"
        )
    return "\n".join(lines)


def reference_table(answers: dict[str, Any], elsewhere: dict[str, dict[str, float]]) -> str:
    """The reference's own figures, those from elsewhere in brackets."""
    lines = ["| reference | seconds a step, and of that | load (s) | memory at the peak (GB) |"]
    lines.append("|-|-|-|-|")
    for job, figures in reference_lines(answers):
        before = elsewhere.get(job.name, {})

        def cell(name: str, figures: dict = figures, before: dict = before) -> str:
            text = number(figures[name])
            return f"{text} [{number(before[name])}]" if name in before else text

        parts = [name for name in figures if name not in ("step", "load") and "peak" not in name]
        split = ", ".join(f"{name} {cell(name)}" for name in parts)
        memory = f"training {cell('peak in training')}, loading {cell('peak while loading')}"
        lines.append(f"| {job.name} | {cell('step')}: {split} | {cell('load')} | {memory} |")
    return "\n".join(lines)


def gaps(answers: dict[str, Any], elsewhere: dict[str, dict[str, float]]) -> str:
    """How far the reference's steps are from those measured before."""
    found = [
        f"{job.name} takes {abs(gap):.0f} % {'more' if gap > 0 else 'less'}"
        for job, figures in reference_lines(answers)
        if job.name in elsewhere
        for gap in [100 * (figures["step"] / elsewhere[job.name]["step"] - 1)]
    ]
    return f"{BRACKETS} Against that, {', '.join(found)}." if found else ""


def floor_table(floors: Floors) -> str:
    """Seconds by part and kind of product: of every call the fastest of all rounds."""
    found = {compute: floor_of(floors, compute) for compute in floors[0]["computes"]}
    kinds = list(next(iter(found.values())))
    lines = ["| floor (s) | " + " | ".join(kinds) + " | all |", "|-|" + "-|" * (len(kinds) + 1)]
    for compute, parts in found.items():
        cells = [number(parts[kind]) for kind in kinds] + [number(sum(parts.values()))]
        lines.append(f"| {compute} | " + " | ".join(cells) + " |")
    about = (
        "The floor is of bare calls of torch and oneDNN on dense weights; the engine has kernels "
        "of its own, so that single products can be below it."
    )
    return "\n".join(lines) + "\n\n" + about


def estimates_table(answers: dict[str, Any]) -> str:
    """The whole program's peak, and what it said of it before the first step."""
    lines = ["| peak memory (GB) | measured | estimated |", "|-|-|-|"]
    for name, mine in answers.items():
        if "estimate" in mine[0]:
            estimate = number(mine[0]["estimate"] / GB)
            lines.append(f"| {name} | {spread(peaks(mine))} | {estimate} |")
    return "\n".join(lines) if len(lines) > 2 else ""


def machine_list(machine: dict[str, Any]) -> str:
    def text(value: Any) -> str:
        return " ".join(value) if isinstance(value, list) else str(value)

    return "\n".join(f"- {name}: {text(value)}" for name, value in machine.items())


def calibration_lines(answers: dict[str, Any]) -> str:
    """Empty where nothing was calibrated."""
    lines = []
    for name, mine in answers.items():
        if any(answer.get("calibration") for answer in mine):
            seconds, last = spread([answer["calibration"] for answer in mine]), mine[-1]
            lines.append(
                f"Calibration of {name}, before the first step and not in the table: {seconds} s. "
                f"{100 * last['integer_share']:.1f} % of the UNet's multiply-adds in linear layers "
                f"and convolutions are of 8-bit integers; {last['sensitive']} of {last['layers']} "
                "layers keep floating point."
            )
    return "\n".join(lines)


def choice_lines(answers: dict[str, Any]) -> str:
    """Why `auto` took what it took; empty where it was not asked."""
    lines = [
        f"{name}: {reason}."
        for name, mine in answers.items()
        for reason in dict.fromkeys(answer.get("compute_choice") for answer in mine)
        if reason
    ]
    return "\n".join(lines)


def paths_line(paths: dict[str, float]) -> str:
    each = ", ".join(f"{name} {number(seconds)} s" for name, seconds in paths.items())
    faster = min(paths, key=paths.__getitem__)
    return f"quanto's linear paths in bf16, a step of n = 1: {each}; the reference takes {faster}."


def report(results: dict[str, Any], out: Path) -> str:
    """Writes report.md and results.json; returns the report.

    `results`: command, machine, shape, setup, rounds, paths, answers, floors.
    """
    out.mkdir(parents=True, exist_ok=True)
    answers, floors = results["answers"], results["floors"]
    setup = results["setup"]
    head = (
        f"`{results['command']}`\n\nA model of the shape {results['shape']}, "
        f"{setup['resolution']} x {setup['resolution']}, n = {setup['n']}, {setup['threads']} "
        f"threads. Rounds: {results['rounds']}; in each every job once in a process of its own, "
        f"ours and the reference's in turn. Of a job the median of {setup['steps']} steps after "
        "one to warm up, three times as many where they are short; here the median of the rounds, "
        "with the fastest and the slowest step. A ratio is taken within a round, that to the "
        "floor of the fastest of all rounds. The reference encodes the picture in every step, as "
        "the public script does; ours once, before the first."
    )
    sets = results["machine"]["instruction sets"]
    parts = [head, goals_table(all_rows(answers, floors, sets))]
    parts += [choice_lines(answers), calibration_lines(answers)]
    if any(True for _ in reference_lines(answers)):
        elsewhere = ELSEWHERE if results["shape"] == "sd15" else {}
        parts.append(reference_table(answers, elsewhere))
        parts.append(gaps(answers, elsewhere))
    parts.append(paths_line(results["paths"]) if results["paths"] else "")
    parts.append(floor_table(floors) if floors else "")
    parts.append(estimates_table(answers))
    parts.append(machine_list(results["machine"]))
    text = "\n\n".join(part for part in parts if part) + "\n"
    write_text(out / "report.md", text)
    write_text(out / "results.json", json.dumps(results, indent=1) + "\n")
    return text
