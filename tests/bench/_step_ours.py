"""Our side of the step benchmark: the program as a user runs it, watched from outside."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from zoodip import __version__
from zoodip._environment import describe
from zoodip._loader import find_module, module_roots

from ._step_memory import peak, restart_peak

LOADING = ("checking", "loading the image encoder", "loading the text encoder", "loading the UNet")
ENCODING = "encoding pictures"


def program() -> Path:
    """The command `zoodip` that was built for this Python."""
    return find_module(module_roots(), describe(), __version__) / "zoodip"


def real_program() -> Path:
    """What that command starts."""
    return program().with_name("zoodip-main")


class Watch:
    """Follows the stages that the program tells: seconds of each, and the peak until it is ready.

    A stage's line comes through a pipe, whose reader wakes within a millisecond or so.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.stage, self.since = "", time.perf_counter()
        self.seconds: dict[str, float] = {}
        self.loading_peak = 0

    def follow(self) -> str:
        """Until the program ends; returns what it said."""
        said = []
        for line in self.process.stderr:
            said.append(line)
            if line.endswith(" ...\n"):
                self._begin(line.removesuffix(" ...\n"))
        return "".join(said)

    def _begin(self, stage: str) -> None:
        now = time.perf_counter()
        if self.stage:
            self.seconds[self.stage] = self.seconds.get(self.stage, 0) + now - self.since
        if not self.loading_peak and stage not in (*LOADING, ENCODING):
            self.loading_peak = peak(self.process.pid)
            restart_peak(self.process.pid)
        self.stage, self.since = stage, now


def wait_for(process: subprocess.Popen[str]) -> int:
    """Sets the return code of a process that ends; its peak memory in bytes since the last
    `restart_peak`. It is at least this process's own, which therefore loads no torch."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return 1024 * usage.ru_maxrss


def step_seconds(events: list[dict[str, Any]]) -> tuple[list[float], float]:
    """Seconds of each step but the first, which warms up, and of all calibration.

    An event tells the seconds since training began, so that a step takes the difference; what
    calibration took between two steps is no part of the second.
    """
    steps: list[float] = []
    last, calibration, between = None, 0.0, 0.0
    for event in events:
        if event["event"] == "calibrated":
            calibration += event["seconds"]
            between += event["seconds"]
        if event["event"] == "step":
            if last is not None:
                steps.append(event["seconds"] - last - between)
            last, between = event["seconds"], 0.0
    return steps, calibration


def integers(events: list[dict[str, Any]]) -> dict[str, Any]:
    """What calibration decided: the share of multiply-adds that are of integers, how many layers
    there are and how many of them keep floating point. Empty where nothing was calibrated."""
    last = next((event for event in reversed(events) if event["event"] == "calibrated"), None)
    if last is None:
        return {}
    share, layers = last["integer_share"], last["layers"]
    return {"integer_share": share, "layers": layers, "sensitive": len(last["sensitive"])}


def train(
    checkpoint: str,
    images: str,
    resolution: int,
    n: int,
    threads: int,
    steps: int,
    **chosen: str,
) -> dict[str, Any]:
    """`zoodip train` for one step to warm up and `steps` more; `chosen` are settings.

    Seconds of each step, of loading (the pictures' encoding apart), encoding and calibration;
    bytes at the peak while loading, encoding included, while training, and as estimated before the
    first step; `integers`.
    """
    settings = {"resolution": resolution, "n": n, "threads": threads, "steps": steps + 1}
    # Nothing but steps: no flips to encode, no validation; chunks would make another step of it.
    settings |= {"flip": 0, "validate_every": 0, "memory_limit": 10**6} | chosen
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log.jsonl"
        words = [str(program()), "train", "--model", checkpoint, "--images", images]
        words += ["--word", "sks", "--init", "dog", "--out", str(Path(folder) / "sks.safetensors")]
        words += ["--log", str(log)]
        for name, value in settings.items():
            words += [f"--{name.replace('_', '-')}", str(value)]
        with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
            watch = Watch(process)
            said = watch.follow()
            training_peak = wait_for(process)
        if process.returncode != 0:
            raise RuntimeError(f"zoodip train ended with {process.returncode}: {said[-2000:]}")
        events = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    seconds, calibration = step_seconds(events)
    run = next(event for event in events if event["event"] == "start")["run"]
    return {
        "steps": seconds,
        "compute": run["settings"]["compute"],
        "compute_choice": run.get("compute_choice", ""),
        "load": sum(watch.seconds[stage] for stage in LOADING),
        "encode": watch.seconds[ENCODING],
        "calibration": calibration,
        "loading_peak": watch.loading_peak,
        "training_peak": training_peak,
        "estimate": next(e for e in events if e["event"] == "start")["memory"]["peak"],
        **integers(events),
    }


def encode(
    checkpoint: str, compute: str, resolution: int, steps: int, threads: int
) -> dict[str, Any]:
    """Seconds of each VAE encode of a picture [1, 3, resolution, resolution], INT8 weights."""
    import torch
    from zoodip import _native

    torch.set_num_threads(threads)
    source = _native.open_weights(checkpoint)
    encoder = _native.LatentEncoder(source, weights="int8", compute=compute)
    pixels = torch.rand(1, 3, resolution, resolution) * 2 - 1
    return {"steps": [timed(encoder.encode, pixels) for _ in range(steps + 1)][1:]}


def timed(function: Any, *arguments: Any) -> float:
    """Seconds of a call."""
    begun = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - begun
