"""The paper's ablations on the demo model, one setting at a time, at equal passes of the UNet.

    python -m zoodip.bench ablation [--quick] [--work build/bench-ablation] [--out FOLDER]

Every cell differs from ZOODiP as the paper sets it up (`_ablation_cells.py`) in what it names, and
makes as many steps as fit into the same number of forward passes. Two subjects, each from the word
for its own class, and three seeds; each word is judged on the same fixed tuples of held-out
pictures, at all timesteps, by diffusers, as a share of what gradient descent gains there. Runs are
independent and go side by side, one a core, all cells with the first seed before the second. What
is done is kept in the work folder, under all of its settings, and not done again: more seeds or
changed cells add to it.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import re
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zoodip

from demo.model_file import FILES, FIRST, unpack
from demo.torch_model import load_token

from ._ablation_cells import SECTIONS, cells_of, passes_a_step, sections_for, steps_of
from ._ablation_numbers import BEFORE, GRADIENT, Run
from ._ablation_report import report
from ._jobs import side_by_side, write_text
from ._judge import Judge, judge_of

# An animal and a thing, as in the paper's own ablations. From the word for its class a gradient
# gains 6 and 7 % of their loss, and these passes bring a run about half of the way.
SUBJECTS = ("blue_spotted_dog", "red_spotted_backpack")

MOST_A_STEP = max(passes_a_step(row.settings) for section in SECTIONS for row in section.rows)


@dataclass(frozen=True)
class Plan:
    passes: int  # of the UNet, forward, a run
    seeds: int
    subjects: tuple[str, ...]
    gradient_steps: int  # at most, for each of three learning rates
    quick: bool


FULL = Plan(720, 3, SUBJECTS, 200, quick=False)
QUICK = Plan(240, 1, SUBJECTS[1:], 50, quick=True)


@dataclass(frozen=True)
class Job:
    """One cell, or one of the two references, on one subject with one seed."""

    cell: str
    subject: str
    seed: int
    settings: dict[str, Any]  # of the training, the seed included; of a reference its own

    @property
    def key(self) -> dict[str, Any]:
        """All that decides the result."""
        return {
            "cell": self.cell,
            "subject": self.subject,
            "seed": self.seed,
            "settings": self.settings,
            "model_sha256": _model_hash(),
            "zoodip": zoodip.__version__,
        }

    @property
    def file(self) -> str:
        words = re.sub(r"[^a-z0-9.-]+", "_", self.cell.lower())
        digest = hashlib.sha256(json.dumps(self.key, sort_keys=True).encode()).hexdigest()
        return f"{words}-{self.subject}-{self.seed}-{digest[:12]}.json"


@functools.cache
def _model_hash() -> str:
    return hashlib.sha256(FILES[FIRST].packed.read_bytes()).hexdigest()


def all_jobs(plan: Plan) -> list[Job]:
    """The references first, then all cells with one seed after the other."""
    cells = cells_of(sections_for(plan.passes, plan.quick))
    references = [
        Job(name, subject, 0, settings)
        for name, settings in ((GRADIENT, {"gradient_steps": plan.gradient_steps}), (BEFORE, {}))
        for subject in plan.subjects
    ]
    return references + [
        Job(
            cell, subject, seed, settings | {"steps": steps_of(settings, plan.passes), "seed": seed}
        )
        for seed in range(plan.seeds)
        for cell, settings in cells.items()
        for subject in plan.subjects
    ]


def train(judge: Judge, settings: dict[str, Any]) -> tuple[float, int]:
    """The held-out loss of the word that a native training ends with, and the passes it made.

    Raises zoodip.Error where the engine refuses the settings.
    """
    with tempfile.TemporaryDirectory() as folder:
        result = zoodip.train(
            unpack(),
            judge.subject.folder,
            word="zwx",
            init=judge.subject.look.kind,
            out=Path(folder) / "word.safetensors",
            threads=1,
            checkpoint_every=settings["steps"],
            **settings,
        )
        theta = load_token(result.token)
    made = result.forward_passes + 2 * result.backward_passes
    counted = settings["steps"] * passes_a_step(settings)
    if made != counted:
        raise RuntimeError(f"the engine made {made} passes, the benchmark counts {counted}")
    return judge.loss(theta), made


def run_job(job: Job) -> Run:
    begun = time.monotonic()
    judge = judge_of(job.subject, FIRST)
    kind = judge.subject.look.kind
    loss, passes, refused = 0.0, 0, ""
    if job.cell == BEFORE:
        loss = judge.loss(judge.model.row(kind))
    elif job.cell == GRADIENT:
        loss = judge.loss(judge.descend(kind, job.settings["gradient_steps"]).theta)
    else:
        try:
            loss, passes = train(judge, job.settings)
        except zoodip.Error as error:
            refused = str(error)
    seconds = time.monotonic() - begun
    return Run(job.cell, job.subject, job.seed, loss, passes, round(seconds, 2), refused)


def run_and_keep(job: Job, work: Path) -> Run:
    """What the engine refused is not kept: another build of it may know it."""
    run = run_job(job)
    if not run.refused:
        write_text(work / job.file, json.dumps({"job": job.key, "run": vars(run)}, indent=1))
    return run


def kept(work: Path, jobs: Iterable[Job]) -> dict[str, Run]:
    """What was done before, by file."""
    return {
        job.file: Run(**json.loads((work / job.file).read_text("utf-8"))["run"])
        for job in jobs
        if (work / job.file).exists()
    }


class Progress:
    """A line for every job that is done, with the time left, on stderr."""

    def __init__(self, missing: int) -> None:
        self._missing, self._done, self._begun = missing, 0, time.monotonic()

    def __call__(self, run: Run) -> None:
        self._done += 1
        left = (time.monotonic() - self._begun) / self._done * (self._missing - self._done)
        what = f"refused: {run.refused}" if run.refused else f"loss {run.loss:.5f}"
        print(
            f"{self._done}/{self._missing} {run.cell}; {run.subject}, seed {run.seed}: {what}, "
            f"{run.seconds:.0f} s; {left / 60:.0f} minutes left",
            file=sys.stderr,
            flush=True,
        )


def run_all(work: Path, jobs: list[Job]) -> list[Run]:
    """Runs what is not done yet and returns all results, those that were refused too."""
    unpack()
    done = kept(work, jobs)
    missing = [job for job in jobs if job.file not in done]
    runs, tell = list(done.values()), Progress(len(missing))
    for run in side_by_side(functools.partial(run_and_keep, work=work), missing):
        runs.append(run)
        tell(run)
    return runs


def need_references(plan: Plan, runs: list[Run]) -> None:
    """Raises SystemExit while a subject has no 0 or no 1 to its shares."""
    done = {(run.cell, run.subject) for run in runs}
    for cell, subject in ((cell, s) for cell in (BEFORE, GRADIENT) for s in plan.subjects):
        if (cell, subject) not in done:
            raise SystemExit(
                f"the loss of the {cell} is not measured yet for {subject}: run this without "
                "--only-report"
            )


def command_of(plan: Plan) -> str:
    """What makes these results, wherever they are kept."""
    usual = QUICK if plan.quick else FULL
    words = ["python -m zoodip.bench ablation", *(["--quick"] if plan.quick else [])]
    words += [f"--seeds {plan.seeds}"] if plan.seeds != usual.seeds else []
    words += [f"--passes {plan.passes}"] if plan.passes != usual.passes else []
    return " ".join(words)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m zoodip.bench ablation", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--quick", action="store_true", help="few cells, one seed: minutes")
    parser.add_argument("--seeds", type=int, help="default: 3, with --quick 1")
    parser.add_argument("--passes", type=int, help="of a run; default: 720, with --quick 240")
    parser.add_argument("--work", type=Path, default=Path("build/bench-ablation"))
    parser.add_argument("--out", type=Path, help="default: the work folder's report/")
    parser.add_argument("--only-report", action="store_true", help="on what is done, no runs")
    options = parser.parse_args(arguments)
    usual = QUICK if options.quick else FULL
    plan = Plan(
        usual.passes if options.passes is None else options.passes,
        usual.seeds if options.seeds is None else options.seeds,
        usual.subjects,
        usual.gradient_steps,
        usual.quick,
    )
    if plan.seeds < 1 or plan.passes < MOST_A_STEP:
        parser.error(f"needs at least 1 seed and {MOST_A_STEP} passes")
    options.work.mkdir(parents=True, exist_ok=True)
    jobs = all_jobs(plan)
    if options.only_report:
        runs = list(kept(options.work, jobs).values())
    else:
        runs = run_all(options.work, jobs)
    need_references(plan, runs)
    out = options.out or options.work / ("report-quick" if plan.quick else "report")
    print(report(runs, sections_for(plan.passes, plan.quick), plan, command_of(plan), out))
    print(f"table, JSON and plot are in {out}")
