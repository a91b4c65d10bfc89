"""How much of its speed a training keeps beside other programs.

    python -m zoodip.bench neighbours [--model FILE --images FOLDER] [--rounds 3] [--out FOLDER]

`zoodip train` on the demo model (or on another), on all cores, in turn: quiet, beside one busy
loop, beside two, and beside a ComfyUI that samples without a pause (COMFYUI_DIR names its checkout;
without it that line is left out). Each time a fresh process; the median of its steps a second after
those that warm up. What a fair share of the cores would leave stands beside it: of c cores with p
loops and t threads that are always busy, t / (t + p) of them, at most all.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from demo.model_file import unpack
from demo.subjects import find_subject

from ._jobs import cores
from ._step_machine import describe
from ._step_ours import program, step_seconds
from ._told import spread, tell

RESULTS = Path(__file__).with_name("results") / "neighbours"
TOOLS = Path(__file__).resolve().parents[1] / "tools"
SUBJECT = "blue_spotted_dog"
BUSY = "while True: pass"


@contextlib.contextmanager
def busy_loops(count: int) -> Iterator[None]:
    loops = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


@contextlib.contextmanager
def sampling_comfyui() -> Iterator[None]:
    """One that draws with the demo model again and again, as the host tests start it."""
    sys.path.append(str(TOOLS))
    from comfy import Comfy

    def draw(seed: int) -> dict[str, Any]:
        return {
            "1": {"class_type": "LoadDemoModelZO", "inputs": {}},
            "2": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["1", 1], "text": "a dog"}},
            "3": {
                "class_type": "EmptyLatentImage",
                "inputs": {"width": 256, "height": 256, "batch_size": 4},
            },
            "4": {
                "class_type": "KSampler",
                "inputs": {
                    "model": ["1", 0],
                    "positive": ["2", 0],
                    "negative": ["2", 0],
                    "latent_image": ["3", 0],
                    "seed": seed,
                    "steps": 200,
                    "cfg": 4.0,
                    "sampler_name": "euler",
                    "scheduler": "normal",
                    "denoise": 1.0,
                },
            },
            "5": {"class_type": "PreviewImage", "inputs": {"images": ["6", 0]}},
            "6": {"class_type": "VAEDecode", "inputs": {"samples": ["4", 0], "vae": ["1", 2]}},
        }

    with tempfile.TemporaryDirectory() as base:
        # As a user starts it: its threads wait as OpenMP's do.
        comfy = Comfy.start(Path(base), env={"OMP_WAIT_POLICY": ""})
        over = threading.Event()

        def draw_on() -> None:
            seed = 0
            while not over.is_set():
                comfy.wait(comfy.queue(draw(seed)), 600)
                seed += 1

        comfy.wait(comfy.queue(draw(10**6)), 600)  # the model is loaded
        drawing = threading.Thread(target=draw_on)
        drawing.start()
        try:
            yield
        finally:
            over.set()
            comfy.interrupt()
            drawing.join()
            comfy.stop()


NEIGHBOURS: dict[str, tuple[int, Callable[[], contextlib.AbstractContextManager[None]]]] = {
    "quiet": (0, contextlib.nullcontext),
    "one busy loop": (1, lambda: busy_loops(1)),
    "two busy loops": (2, lambda: busy_loops(2)),
    "a ComfyUI that samples": (0, sampling_comfyui),
}


def steps_a_second(model: Path, images: Path, steps: int, chosen: list[str]) -> float:
    """Of a training whose every step is told; the first fifth warms up."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log.jsonl"
        words = [program(), "train", "--model", model, "--images", images, "--word", "zwx"]
        words += ["--init", "cat", "--out", Path(folder) / "zwx.safetensors", "--log", log]
        words += ["--steps", str(steps), "--validate-every", "0", "--nice", "off", *chosen]
        subprocess.run(words, check=True, capture_output=True)
        events = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    seconds, _ = step_seconds(events)
    late = seconds[len(seconds) // 5 :]
    # The mean: what a neighbour takes comes in bursts, of which a median would see nothing.
    return 1 / statistics.fmean(late)


def measure(
    model: Path, images: Path, steps: int, rounds: int, chosen: list[str]
) -> dict[str, list[float]]:
    speeds: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name, (_, beside) in NEIGHBOURS.items():
            if beside is sampling_comfyui and not os.environ.get("COMFYUI_DIR"):
                continue
            with beside():
                speed = steps_a_second(model, images, steps, chosen)
            speeds.setdefault(name, []).append(round(speed, 4))
            print(name, speeds[name][-1], flush=True)
    return speeds


def table(speeds: dict[str, list[float]], threads: int) -> str:
    lines = ["| beside | steps a second | of the quiet speed | a fair share |", "|-|-|-|-|"]
    quiet = speeds["quiet"]
    for name, all_ in speeds.items():
        loops = NEIGHBOURS[name][0]
        fair = f"{min(1.0, threads / (threads + loops)):.2f}" if loops or name == "quiet" else ""
        ratios = [one / calm for one, calm in zip(all_, quiet, strict=True)]
        ends = spread(all_)
        kept = spread(ratios, ".2f")
        lines.append(f"| {name} | {ends} | {kept} | {fair} |")
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m zoodip.bench neighbours", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--model", type=Path, help="default: the demo model")
    parser.add_argument("--images", type=Path, help="default: a subject of the demo")
    parser.add_argument("--steps", type=int, default=600, help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=RESULTS, help="default: results/neighbours")
    options, chosen = parser.parse_known_args(arguments)  # what is left is for `zoodip train`
    model = options.model or unpack()
    images = options.images or find_subject(SUBJECT).folder
    speeds = measure(model, images, options.steps, options.rounds, chosen)
    machine = describe(cores())["machine"]
    command = shlex.join(["python", "-m", "zoodip.bench", "neighbours", *arguments])
    told = [
        f"`zoodip train` on {cores()} cores; medians of {options.rounds} rounds, in brackets the "
        "lowest and the highest. A ratio is taken within a round.",
        table(speeds, cores()),
    ]
    tell(options.out, command, told, {"speeds": speeds, "machine": machine})
