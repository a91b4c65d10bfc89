"""What a second rank brings, and what crosses the wire.

    python -m zoodip.bench ranks [--steps 200] [--rounds 3] [--out FOLDER]

On the demo model, each process with one thread, in turn: one process that lets all points of a step
pass at once, one with the chunk that two ranks divide (the same word, to the bit), and two ranks,
as torchrun starts them; with rge at n = 8, and the same with batch 2. Steps a second are the mean
after the first fifth; a ratio is taken within a round. The bytes are those that a rank counts, and
all that went over the loopback, with TCP's own. Then, without a model: how long ranks take to tell
one another a frame.

`--floor` adds two processes that train alone at the same time, which tell nobody anything: what is
lost beside them is the machine's.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from demo.model_file import unpack
from demo.subjects import find_subject

from ._jobs import cores
from ._step_machine import describe
from ._step_ours import program, step_seconds
from ._told import spread, tell

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).with_name("results") / "ranks"
SUBJECT = "blue_spotted_dog"
CASES = {"n = 8": ["--n", "8"], "n = 8, batch 2": ["--n", "8", "--batch", "2"]}
CHUNKS = {"n = 8": "5", "n = 8, batch 2": "9"}
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
FRAMES = 2000
WORKER = f"""
import os, time
from zoodip._ranks import Place, Ranks
ranks = Ranks(Place.read(os.environ))
frame, seconds = bytes(128), []
for _ in range({FRAMES}):
    begin = time.perf_counter()
    ranks.all_gather(frame, 60, lambda: False)
    seconds.append(time.perf_counter() - begin)
if ranks.rank == 0:
    print(*seconds[len(seconds) // 5 :])
ranks.all_gather(frame, 60, lambda: False)
"""


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def environment(**more: str) -> dict[str, str]:
    return os.environ | {
        "PYTHONPATH": str(ROOT / "native" / "python"),
        "OMP_NUM_THREADS": "1",
        **more,
    }


def loopback_bytes() -> int:
    """Sent over the loopback since the system began; 0 where it is not told."""
    try:
        text = Path("/proc/net/dev").read_text(encoding="utf-8")
    except OSError:
        return 0
    found = re.search(r"^\s*lo:(.*)$", text, re.MULTILINE)
    return int(found[1].split()[8]) if found else 0


class Training:
    """One command of `zoodip train` with a log; begun when it is made."""

    def __init__(self, command: list[str], steps: int, chosen: list[str]) -> None:
        self.steps = steps
        self.folder = tempfile.TemporaryDirectory()
        self.log = Path(self.folder.name) / "log.jsonl"
        words = [*command, "train", "--model", str(unpack())]
        words += ["--images", str(find_subject(SUBJECT).folder), "--word", "zwx", "--init", "cat"]
        words += ["--out", str(Path(self.folder.name) / "zwx.safetensors"), "--log", str(self.log)]
        words += ["--steps", str(steps), "--threads", "1", "--validate-every", "0", *chosen]
        words += ["--nice", "off", "--compute", "fp32"]
        self.bytes_before = loopback_bytes()
        self.process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environment())

    def end(self) -> dict[str, float]:
        said = self.process.communicate()[1]
        if self.process.returncode != 0:
            raise SystemExit(said)
        lines = self.log.read_text(encoding="utf-8").splitlines()
        seconds, _ = step_seconds([json.loads(line) for line in lines])
        self.folder.cleanup()
        counted = re.search(r"sent and received (\d+) bytes a step", said)
        return {
            "speed": 1 / statistics.fmean(seconds[len(seconds) // 5 :]),
            "bytes": int(counted[1]) if counted else 0,
            "loopback": (loopback_bytes() - self.bytes_before) / self.steps,
        }


def ranked() -> list[str]:
    meeting = ["--master-addr", "127.0.0.1", "--master-port", free_port()]
    return [*TORCHRUN, *meeting, "-m", "--", "zoodip"]


def measure(steps: int, rounds: int, floor: bool) -> dict[str, list[dict[str, float]]]:
    """Of each case, a row for each round."""
    rows: dict[str, list[dict[str, float]]] = {}
    alone = [str(program())]
    for _ in range(rounds):
        for name, chosen in CASES.items():
            chunked = [*chosen, "--chunk", CHUNKS[name]]
            row = {"one": Training(alone, steps, chosen).end()["speed"]}
            row["one in chunks"] = Training(alone, steps, chunked).end()["speed"]
            two = Training(ranked(), steps, chosen).end()
            row |= {"two": two["speed"], "bytes": two["bytes"], "loopback": two["loopback"]}
            if floor:
                both = [Training(alone, steps, chosen) for _ in range(2)]
                row["two that are alone"] = statistics.fmean(one.end()["speed"] for one in both)
            rows.setdefault(name, []).append(row)
            print(name, json.dumps(row), flush=True)
    return rows


def frame_seconds(size: int) -> float:
    """Median time in which `size` ranks of this machine tell one another a frame."""
    port = free_port()
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER],
            stdout=subprocess.PIPE,
            text=True,
            env=environment(
                RANK=str(rank),
                LOCAL_RANK=str(rank),
                WORLD_SIZE=str(size),
                LOCAL_WORLD_SIZE=str(size),
                MASTER_ADDR="127.0.0.1",
                MASTER_PORT=port,
            ),
        )
        for rank in range(size)
    ]
    said = [rank.communicate()[0] for rank in ranks]
    return statistics.median(float(word) for word in said[0].split())


def table(rows: dict[str, list[dict[str, float]]], floor: bool) -> str:
    head = ["", "one process", "one, in ranks' chunks", "two ranks", "to the same word", "to one"]
    head += ["two processes alone, to one"] if floor else []
    head += ["bytes a step and rank", "on the loopback"]
    lines = ["| " + " | ".join(head) + " |", "|-" * len(head) + "|"]
    for name, all_ in rows.items():

        def of(key: str, to: str = "", all_: list[dict[str, float]] = all_) -> str:
            return spread([row[key] / (row[to] if to else 1) for row in all_])

        cells = [name, of("one"), of("one in chunks"), of("two")]
        cells += [of("two", "one in chunks"), of("two", "one")]
        cells += [of("two that are alone", "one")] if floor else []
        cells += [f"{all_[0]['bytes']:.0f}", f"{all_[0]['loopback']:.0f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m zoodip.bench ranks", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--steps", type=int, default=200, help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--floor", action="store_true", help="two processes without a wire, too")
    parser.add_argument("--out", type=Path, default=RESULTS, help="default: results/ranks")
    options = parser.parse_args(arguments)
    rows = measure(options.steps, options.rounds, options.floor)
    frames: dict[str, Any] = {str(size): frame_seconds(size) for size in (2, 4)}
    machine = describe(1)["machine"]
    command = shlex.join(["python", "-m", "zoodip.bench", "ranks", *arguments])
    told = [
        f"`zoodip train` on the demo model, fp32, one thread a process, {cores()} cores: steps a "
        f"second, medians of {options.rounds} rounds with the lowest and the highest. A ratio is "
        "taken within a round.",
        table(rows, options.floor),
        "A frame of 128 bytes from each of the ranks to each, over the loopback, median: "
        + "; ".join(f"{size} ranks {1e6 * took:.0f} us" for size, took in frames.items())
        + ".",
    ]
    tell(options.out, command, told, {"rows": rows, "frames": frames, "machine": machine})
