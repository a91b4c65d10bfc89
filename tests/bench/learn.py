"""What learning reaches on the demo world, beside words and gradient descent.

    python -m zoodip.bench learn [--model sd1|xl|narrow] [--seeds 3] [--quick] [--work FOLDER]
                                 [--out FOLDER]

For each subject and seed: the initialiser word, a full description in plain words, gradient
descent (textual inversion, best of three learning rates), the engine's exact gradient, its
estimates for few passes, and the paper's method in as many forward passes; what its parts do for it
is for `ablation`. Each word is judged on the same fixed tuples of held-out pictures, at all
timesteps, before backgrounds that its training pictures do not have, by diffusers, several times on
its way; and by pictures that it draws at its end. Half of the initialisers are of a wrong class.
Runs are independent and go side by side, one a core, all methods with the first seed before the
second. What is done is kept in the work folder and not done again.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import zoodip

from demo.model_file import FIRST
from demo.networks import KINDS
from demo.subjects import Subject, all_subjects
from demo.torch_model import GRADIENT_TUPLES, load_token, save_token
from demo.training_scenes import checkpoint_of
from demo.world import describe

from ._jobs import side_by_side, write_text
from ._judge import Judge, judge_of
from ._learn_report import Result, report


@dataclass(frozen=True)
class Method:
    """What a training is asked for. A forward and backward pass together count as three."""

    settings: dict[str, Any]
    passes: int  # of the UNet, in the whole run
    a_step: int  # of them
    looks: int = 12  # at the word on its way

    def steps(self, part: float) -> int:
        return max(self.looks, int(self.passes * part) // self.a_step)


FP32 = {"compute": "fp32"}  # which no machine chooses otherwise
PAPER = FP32 | {"preset": "paper"}
TRAINED = {
    "exact": Method(FP32 | {"method": "exact"}, 450, 3),
    "few passes": Method(FP32 | {"preset": "few_passes"}, 2400, 9),
    "ZOODiP": Method(PAPER, 2400, 3),
}
PAIRS = [("exact", "few passes"), ("exact", "ZOODiP"), ("few passes", "ZOODiP")]
WITHOUT_SEED = ("initialiser", "description", "gradient")  # once for each initialiser
METHODS = (*WITHOUT_SEED, *TRAINED)


@dataclass(frozen=True)
class Plan:
    seeds: tuple[int, ...]
    part: float  # of the methods' passes
    gradient_steps: int  # at most, for each learning rate


FULL = Plan((0, 1, 2), 1.0, 200)
QUICK = Plan((0,), 0.1, 50)


def initialiser_of(subject: Subject, index: int, seed: int) -> str:
    """Every other one is of a wrong class."""
    return subject.wrong_class if (index + seed) % 2 else subject.look.kind


@dataclass(frozen=True)
class Job:
    """One method on one subject with one seed."""

    model: str  # of the demo's
    subject: str
    seed: int
    method: str
    initialiser: str

    @property
    def file(self) -> str:
        method = self.method.replace(",", "").replace(" ", "-")
        run = self.initialiser if self.method in WITHOUT_SEED else self.seed
        return f"{self.subject}-{run}-{method}.json"


def all_jobs(model: str, plan: Plan) -> list[Job]:
    """The references first, then seed by seed."""
    jobs = [
        Job(model, subject.name, seed, method, initialiser_of(subject, index, seed))
        for seed in plan.seeds
        for index, subject in enumerate(all_subjects())
        for method in METHODS
    ]
    return sorted(jobs, key=lambda job: job.method not in WITHOUT_SEED)


def train(judge: Judge, job: Job, plan: Plan) -> list[tuple[int, torch.Tensor]]:
    """The words along one native training as (UNet passes, theta)."""
    method = TRAINED[job.method]
    steps = method.steps(plan.part)
    words: list[tuple[int, torch.Tensor]] = []
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "word.safetensors"

        def on_event(event: Mapping[str, Any]) -> None:
            if event["event"] == "checkpoint" and event["step"] < steps:
                words.append((method.a_step * event["step"], load_token(out, judge.model.kind)))

        result = zoodip.train(
            checkpoint_of(job.model),
            judge.subject.folder,
            word="zwx",
            init=job.initialiser,
            out=out,
            on_event=on_event,
            **method.settings,
            steps=steps,
            seed=job.seed,
            checkpoint_every=steps // method.looks,
            threads=1,
        )
        made = result.forward_passes + 2 * result.backward_passes
        if made != method.a_step * steps:
            raise RuntimeError(f"{job.method}: the engine made {made} passes in {steps} steps")
        words.append((made, load_token(out, judge.model.kind)))
    return words


def run_job(job: Job, plan: Plan, work: Path) -> Result:
    begun = time.monotonic()
    judge = judge_of(job.subject, job.model)
    start = judge.model.row(job.initialiser)
    passes, words = 0, "{}"
    curve: list[tuple[int, float]] = []
    if job.method == "initialiser":
        loss = judge.loss(start)
    elif job.method == "description":
        words = describe(judge.subject.look)
        loss = judge.model.held_out_loss(judge.tuples_for(words))
    elif job.method == "gradient":
        best = judge.descend(job.initialiser, plan.gradient_steps)
        save_token(
            (work / job.file).with_suffix(".safetensors"), "zwx", best.theta, judge.model.kind
        )
        passes, loss = GRADIENT_TUPLES * best.steps, judge.loss(best.theta)
    else:
        for passes, theta in [(0, start), *train(judge, job, plan)]:
            loss = judge.loss(theta)
            curve.append((passes, loss))
    scores = judge.scores(words)
    seconds = time.monotonic() - begun
    return Result(
        job.subject, job.seed, job.method, job.initialiser, loss, *scores, passes, seconds, curve
    )


def run_and_keep(job: Job, plan: Plan, work: Path) -> Result:
    result = run_job(job, plan, work)
    write_text(work / job.file, json.dumps(asdict(result)))
    return result


def keep_to_one_setting(work: Path, settings: dict[str, Any]) -> None:
    """A work folder holds results of one plan on one model. Raises SystemExit for another."""
    path = work / "settings.json"
    if not path.exists():
        write_text(path, json.dumps(settings, indent=1))
    if json.loads(path.read_text("utf-8")) != json.loads(json.dumps(settings)):
        raise SystemExit(
            f"{work} holds results of another model, preset or plan: add --anew to forget them, or "
            "name another --work"
        )


def run_all(model: str, work: Path, plan: Plan, tell: Callable[[str], None]) -> list[Result]:
    """Runs what is not done yet, one job a core, and returns all results."""
    checkpoint_of(model)
    jobs = all_jobs(model, plan)
    missing = list({job.file: job for job in jobs if not (work / job.file).exists()}.values())
    run = functools.partial(run_and_keep, plan=plan, work=work)
    for done, result in enumerate(side_by_side(run, missing), 1):
        tell(
            f"{done}/{len(missing)} {result.subject} seed {result.seed} {result.method}: "
            f"loss {result.loss:.5f}, similarity {result.similarity:.3f}, {result.seconds:.0f} s"
        )
    return [
        replace(Result(**json.loads((work / job.file).read_text("utf-8"))), seed=job.seed)
        for job in jobs
    ]


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m zoodip.bench learn", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--model", choices=KINDS, default=FIRST, help="default: %(default)s")
    parser.add_argument("--seeds", type=int, default=len(FULL.seeds), help="default: %(default)s")
    parser.add_argument("--quick", action="store_true", help="one seed and few steps: minutes")
    parser.add_argument("--work", type=Path, help="default: a folder in build/")
    parser.add_argument("--out", type=Path, help="default: the work folder's report/")
    parser.add_argument("--anew", action="store_true", help="forget what was done before")
    options = parser.parse_args(arguments)
    plan = QUICK if options.quick else replace(FULL, seeds=tuple(range(options.seeds)))
    name = "bench-learn" + ("" if options.model == FIRST else f"-{options.model}")
    work = options.work or Path("build") / (name + ("-quick" if options.quick else ""))
    work.mkdir(parents=True, exist_ok=True)
    for earlier in work.glob("*.json") if options.anew else ():
        earlier.unlink()
    settings = {
        "plan": asdict(plan) | {"seeds": []},  # more of them add to what was done
        "methods": {name: asdict(method) for name, method in TRAINED.items()},
        "model_sha256": hashlib.sha256(checkpoint_of(options.model).read_bytes()).hexdigest(),
        "zoodip": zoodip.__version__,
    }
    keep_to_one_setting(work, settings)
    begun = time.monotonic()
    results = run_all(options.model, work, plan, lambda line: print(line, flush=True))
    settings["plan"] = asdict(plan)
    out = options.out or work / "report"
    print(report(results, settings, PAIRS, out))
    print(f"{(time.monotonic() - begun) / 60:.0f} minutes; table, JSON and plot are in {out}")
