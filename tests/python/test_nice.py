"""Giving way to other programs: --nice."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from program import arguments

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="priorities are read from /proc"
)

LINE = "Other programs go first while they need the processor"
ENDLESS = {"steps": 10_000_000, "validate_every": 0, "threads": 2}
X_SOCKETS = Path("/tmp/.X11-unix")


def niceness(process: subprocess.Popen) -> set[int]:
    """Of all its threads. Field 19 of stat; the name before may hold blanks."""
    stats = Path(f"/proc/{process.pid}/task").glob("*/stat")
    return {int(stat.read_text().rsplit(")", 1)[1].split()[16]) for stat in stats}


@pytest.fixture
def start(module_folder, model, images, tmp_path):
    """Trains without end; returns what was said until the first step, and the priorities then."""

    def go(*words: str, **environment: str) -> tuple[str, set[int]]:
        train = arguments(model, images, tmp_path / "sks.safetensors", **ENDLESS)
        wayland = {"DISPLAY", "WAYLAND_DISPLAY"}
        others = {name: value for name, value in os.environ.items() if name not in wayland}
        process = subprocess.Popen(
            [module_folder / "zoodip", *train, *words],
            stderr=subprocess.PIPE,
            text=True,
            env=others | environment,
        )
        with process:
            try:
                said = ""
                while f"/{ENDLESS['steps']}  loss" not in said:
                    line = process.stderr.readline()
                    assert line, said
                    said += line
                return said, niceness(process)
            finally:
                process.kill()

    return go


def test_on_lowers_every_thread(start):
    said, priorities = start("--nice", "on")
    assert said.count(LINE) == 1
    assert priorities == {max(10, os.nice(0))}


def test_off_lowers_none(start):
    said, priorities = start("--nice", "off", DISPLAY=":0")
    assert LINE not in said and priorities == {os.nice(0)}


@pytest.mark.parametrize("desktop", [{"DISPLAY": ":0"}, {"WAYLAND_DISPLAY": "wayland-0"}, {}])
def test_auto_is_for_long_runs_beside_a_desktop(start, desktop):
    if not desktop and X_SOCKETS.is_dir() and any(X_SOCKETS.iterdir()):
        pytest.skip("this machine has an X display")
    said, priorities = start(**desktop)
    assert (LINE in said) == bool(desktop)
    assert priorities == {max(10, os.nice(0)) if desktop else os.nice(0)}


def test_another_word_is_refused(run, model, images, tmp_path):
    told = run([*arguments(model, images, tmp_path / "sks.safetensors"), "--nice", "very"])
    assert told.returncode != 0 and "--nice" in told.stderr
