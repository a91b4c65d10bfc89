"""Seconds and memory of a training step, against the public script's own step and against bare
arithmetic.

    python -m zoodip.bench step [--quick] [--rows fp32 bf16 ...] [--profile] [--scaling]
                                [--threads 2] [--rounds 3] [--steps 3] [--only-report]
                                [--shape sd15 | sd21 | sdxl]

A model of Stable Diffusion 1.5's shape (or that of 2.1 at 768 pixels, or of XL at 512) with random
weights is written once into the work folder.
Ours is the program `zoodip train`; the reference is a step with diffusers and optimum-quanto
(_step_reference.py), and for the exact gradient textual inversion (_step_gradient.py). Both run in
turn, each time in a process of its own. The floor is the step's products as bare calls
(_step_floor.py). Nothing else may run on the machine meanwhile.
"""

from __future__ import annotations

import argparse
import json
import shlex
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ._jobs import write_text
from ._step_jobs import ROWS, Bench, Job, Rounds, faster_path, jobs_of, run_rounds
from ._step_model import Model, Setup, make_model
from ._step_profile import report as profile_report
from ._step_report import machine_list, report
from ._step_rows import NAMES
from ._step_scaling import FULL, QUICK, Axes, measure, points_of
from ._step_scaling import report as scaling_report
from ._step_worker import ROOT, ask

RESULTS = ROOT / "tests/bench/results/step"
WORK = ROOT / "build/bench-step"


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    shape: str
    resolution: int
    steps: int
    rounds: int
    budget: float  # seconds for each bare call of the floor
    axes: Axes


SD15 = Size("sd15", 512, 3, 3, 0.1, FULL)
# Of the other families the estimates alone, beside the reference, without a floor.
OTHERS = {
    "sd21": Size("sd21", 768, 2, 1, 0, FULL),
    "sdxl": Size("sdxl", 512, 2, 1, 0, FULL),
}
ESTIMATES = ("default", *NAMES)
TINY = Size("tiny", 64, 1, 1, 0.001, QUICK)


@dataclass(frozen=True)
class Session:
    """What the parts of the benchmark share."""

    model: Model
    setup: Setup
    size: Size
    about: dict[str, Any]  # command and machine
    computes: list[str]  # that the engine knows
    work: Path
    out: Path

    def bench(self, computes: set[str]) -> tuple[Bench, dict[str, float]]:
        """With the faster of quanto's linear paths, and the seconds of both; they differ, and are
        measured, in bf16 alone."""
        seconds = faster_path(self.model, self.setup) if "bf16" in computes else {}
        path = {"fp32": "dequantised", "bf16": min(seconds, key=seconds.get, default="")}
        return Bench(self.model, self.work, path), seconds


def say(line: str) -> None:
    print(line, flush=True)


def run_table(session: Session, rows: list[str], rounds: int, reference: tuple[str, ...]) -> str:
    jobs = jobs_of(rows, reference)
    bench, paths = session.bench({job.compute for job in jobs if job.side == "reference"})
    computes = [row for row in rows if row in NAMES and session.model.shape not in OTHERS]
    plan = Rounds(jobs, computes, session.size.budget, rounds)
    about = session.about | {"shape": session.model.shape, "setup": asdict(session.setup)}
    text = ""
    for done, (answers, floors) in enumerate(run_rounds(bench, session.setup, plan, say), 1):
        found = {"rounds": done, "paths": paths, "answers": answers, "floors": floors}
        text = report(about | found, session.out)  # a run that breaks keeps its whole rounds
    return text


def run_profile(session: Session) -> str:
    found = {}
    for compute in session.computes:
        found[compute] = ask(
            "_step_profile.profile",
            checkpoint=str(session.model.checkpoint),
            compute=compute,
            **session.setup.request("n", "resolution", "threads"),
        )
        say(f"profile, {compute}: {found[compute]['seconds']:.3f} s")
    head = f"`{session.about['command']}`"
    text = "\n\n".join([head, profile_report(found), machine_list(session.about["machine"])]) + "\n"
    session.out.mkdir(parents=True, exist_ok=True)
    write_text(session.out / "profile.md", text)
    content = session.about | {"profiles": found}
    write_text(session.out / "profile.json", json.dumps(content, indent=1) + "\n")
    return text


def run_scaling(session: Session) -> str:
    bench, _ = session.bench({"bf16"})
    setup = replace(session.setup, steps=min(2, session.setup.steps))
    jobs = [Job("ours", "train", compute) for compute in session.computes]
    jobs += [Job("reference", "train", "bf16")]
    about = session.about | {"shape": session.model.shape}
    text = ""
    for found in measure(bench, points_of(jobs, session.size.axes, setup), say):
        text = scaling_report(found, setup, about, session.out)  # as run_table: nothing is lost
    return text


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m zoodip.bench step", description=" ".join(__doc__.split("\n\n")[0].split())
    )
    parser.add_argument("--quick", action="store_true", help="a tiny model: a minute")
    parser.add_argument(
        "--rows", nargs="+", choices=ROWS, help="of the table; default: all the engine knows"
    )
    parser.add_argument(
        "--reference",
        nargs="+",
        choices=["fp32", "bf16"],
        default=["fp32", "bf16"],
        help="types of it that the default is held against; without instructions for bfloat16 it "
        "takes many minutes a step in that one",
    )
    parser.add_argument(
        "--profile", action="store_true", help="our step by calls; without --rows no table"
    )
    parser.add_argument(
        "--scaling",
        action="store_true",
        help="against n, resolution, threads; without --rows no table",
    )
    parser.add_argument(
        "--shape",
        choices=["sd15", *OTHERS],
        default="sd15",
        help=f"whose model; of others than sd15 the rows {' '.join(ESTIMATES)}",
    )
    parser.add_argument("--threads", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--rounds", type=int, help="default: 3, or 1 with --quick")
    parser.add_argument(
        "--steps", type=int, help="of a process, after the first; default: 3, or 1 with --quick"
    )
    parser.add_argument("--work", type=Path, default=WORK, help="default: build/bench-step")
    parser.add_argument(
        "--out",
        type=Path,
        help="default: tests/bench/results/step; some --rows go to rows/ in the work folder, and "
        "--quick to quick/",
    )
    parser.add_argument(
        "--only-report", action="store_true", help="of the table, from results.json in OUT"
    )
    return parser.parse_args(arguments)


def out_of(options: argparse.Namespace, work: Path) -> Path:
    """What is not the whole must not take the place of it."""
    if options.out:
        return options.out
    if options.quick:
        return work / "quick"
    if options.shape in OTHERS:
        return RESULTS.with_name(f"step-{options.shape}")
    return work / "rows" if options.rows else RESULTS


def main(arguments: list[str]) -> None:
    options = parse(arguments)
    begun = time.monotonic()
    out = out_of(options, options.work.resolve())
    if options.only_report:
        print(report(json.loads((out / "results.json").read_text(encoding="utf-8")), out))
        return
    size = TINY if options.quick else OTHERS.get(options.shape, SD15)
    known = ask("_step_machine.describe", threads=options.threads)
    takes = {*known["computes"], "auto"}
    possible = [row for row, jobs in ROWS.items() if all(job.compute in takes for job in jobs)]
    if size.shape in OTHERS:
        possible = [row for row in possible if row in ESTIMATES]
    rows = options.rows or possible
    if not set(rows) <= set(possible):
        raise SystemExit(f"step: the engine that was built knows the rows {' '.join(possible)}")
    work = options.work.resolve()
    command = shlex.join(["python", "-m", "zoodip.bench", "step", *arguments])
    session = Session(
        make_model(size.shape, work),
        Setup(size.resolution, threads=options.threads, steps=options.steps or size.steps),
        size,
        {"command": command, "machine": known["machine"]},
        known["computes"],
        work,
        out,
    )
    texts = []
    if options.rows or not (options.profile or options.scaling):
        reference = tuple(options.reference)
        texts.append(run_table(session, rows, options.rounds or size.rounds, reference))
    if options.profile:
        texts.append(run_profile(session))
    if options.scaling:
        texts.append(run_scaling(session))
    print("\n".join(texts))
    print(f"{(time.monotonic() - begun) / 60:.0f} minutes; all of it is in {session.out}")
