"""Checks that need the host's own objects: each check_* function of inside/*_checks.py."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from comfy import comfyui_dir, comfyui_python

INSIDE = Path(__file__).parent / "inside"
CHECKS = [
    (path.stem, name)
    for path in sorted(INSIDE.glob("*_checks.py"))
    for name in re.findall(r"^def (check_\w+)", path.read_text(), re.MULTILINE)
]


@pytest.fixture(scope="session")
def inside():
    """What became of a check. All of a module run in one process with the host's Python."""
    done = {}

    def result(module: str, name: str) -> str:
        if module not in done:
            ran = subprocess.run(
                [comfyui_python(comfyui_dir()), str(INSIDE / "run.py"), module],
                capture_output=True,
                text=True,
                env={**os.environ, "COMFYUI_DIR": str(comfyui_dir())},
                timeout=600,
            )
            assert ran.returncode == 0, ran.stderr[-4000:]
            done[module] = json.loads(ran.stdout.splitlines()[-1])
        return done[module][name]

    return result


@pytest.mark.parametrize(("module", "name"), CHECKS, ids=[name for _, name in CHECKS])
def test_inside(inside, module, name):
    problem = inside(module, name)
    if problem.startswith("skipped: "):
        pytest.skip(problem.removeprefix("skipped: "))
    if problem:
        pytest.fail(problem, pytrace=False)
