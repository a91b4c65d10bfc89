"""What a further word costs in one run over one model.

    python -m zoodip.bench words [--steps 60] [--rounds 3] [--model FILE] [--out FOLDER]

`zoodip train` of 1, 4 and 8 of the demo's subjects at once, and of one alone, in turn in every
round: seconds of the steps and of the whole process for each word, and the peak of resident memory.
A ratio is taken within a round. With rge and with the exact gradient in fp32, whose passes the
words share, and with rge in int8, whose passes are made in turn.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from demo.model_file import unpack
from demo.subjects import all_subjects

from ._jobs import cores
from ._step_machine import describe
from ._step_ours import program, step_seconds
from ._told import spread, tell

RESULTS = Path(__file__).with_name("results") / "words"
COUNTS = (1, 4, 8)
PAPER = ["--preset", "paper"]
CASES = {
    "rge, n = 2, fp32": [*PAPER, "--compute", "fp32"],
    "rge, n = 2, int8": [*PAPER, "--compute", "int8"],
    "exact, fp32": ["--method", "exact", "--compute", "fp32"],
}

# Between this process and the measured one: the peak of a child begins at what its parent has.
MEASURED = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:]).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(status)
"""


def learn(model: Path, words: int, steps: int, chosen: list[str]) -> dict[str, float]:
    """Seconds a word, of all steps after the first fifth and of the process; bytes at its peak."""
    with tempfile.TemporaryDirectory() as folder:
        logs = Path(folder) / "logs"
        command = [program(), "train", "--model", model, "--out", Path(folder) / "out"]
        command += ["--log", logs, "--steps", steps, "--validate-every", 0, "--nice", "off"]
        for i, subject in enumerate(all_subjects()[:words]):
            command += ["--subject", f"s{i}={subject.folder}:zw{i}:{subject.look.kind}"]
        words_of = [str(word) for word in [*command, *chosen]]
        begun = time.monotonic()
        process = subprocess.run(
            [sys.executable, "-S", "-c", MEASURED, *words_of], capture_output=True, text=True
        )
        if process.returncode != 0:
            raise SystemExit(process.stderr)
        whole = time.monotonic() - begun
        events = [json.loads(line) for line in (logs / "s0.jsonl").read_text().splitlines()]
    seconds, _ = step_seconds(events)
    return {
        "step": statistics.fmean(seconds[len(seconds) // 5 :]) / words,
        "whole": whole / words,
        "bytes": int(process.stdout.split()[-1]) * 1024,
    }


def table(rows: dict[str, list[dict[int, dict[str, float]]]]) -> str:
    head = ["", "words", "milliseconds a step and word", "beside one", "seconds a word, all told"]
    head += ["MB at the peak"]
    lines = ["| " + " | ".join(head) + " |", "|-" * len(head) + "|"]
    for name, rounds in rows.items():
        for count in COUNTS:
            step = [1e3 * row[count]["step"] for row in rounds]
            ratio = [row[count]["step"] / row[1]["step"] for row in rounds]
            whole = [row[count]["whole"] for row in rounds]
            peak = statistics.median(row[count]["bytes"] for row in rounds) / 1e6
            cells = [name, str(count), spread(step), spread(ratio), spread(whole), f"{peak:.0f}"]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m zoodip.bench words", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--steps", type=int, default=60, help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--model", type=Path, help="default: the demo's")
    parser.add_argument("--out", type=Path, default=RESULTS, help="default: results/words")
    options = parser.parse_args(arguments)
    model = options.model or unpack()
    rows: dict[str, list[dict[int, dict[str, float]]]] = {name: [] for name in CASES}
    for _ in range(options.rounds):
        for name, chosen in CASES.items():
            row = {count: learn(model, count, options.steps, chosen) for count in COUNTS}
            rows[name].append(row)
            print(name, json.dumps(row), flush=True)
    machine: dict[str, Any] = describe(cores())["machine"]
    command = shlex.join(["python", "-m", "zoodip.bench", "words", *arguments])
    told = [
        f"`zoodip train` on the demo model, {cores()} cores; medians of {options.rounds} rounds "
        "with the lowest and the highest. A ratio is taken within a round.",
        table(rows),
    ]
    tell(options.out, command, told, {"rows": rows, "machine": machine})
