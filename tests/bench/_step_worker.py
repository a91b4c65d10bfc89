"""Workers: every measurement is made in a process of its own, which answers with JSON.

A worker is a function of this folder that takes and returns what JSON can hold. `ask` runs it in a
fresh interpreter with so many threads; `python -m tests.bench._step_worker` is that interpreter.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
QUIET = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "TQDM_DISABLE": "1"}


class WorkerError(RuntimeError):
    """A worker ended without an answer; the message is the end of what it said."""


def ask(function: str, *, threads: int, **request: Any) -> Any:
    """Calls `module.function(threads=..., **request)`, a module of this folder, in a process of its
    own."""
    paths = [str(ROOT / "native/python"), str(ROOT / "tests/tools"), os.environ.get("PYTHONPATH")]
    environment = os.environ | QUIET | {"OMP_NUM_THREADS": str(threads)}
    environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        done = subprocess.run(
            [sys.executable, "-m", "tests.bench._step_worker", function, str(answer)],
            cwd=ROOT,
            env=environment,
            input=json.dumps(request | {"threads": threads}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode != 0 or not answer.is_file():
            raise WorkerError(f"{function} ended with {done.returncode}:\n{done.stdout[-4000:]}")
        return json.loads(answer.read_text(encoding="utf-8"))


def main(arguments: list[str]) -> None:
    name, answer = arguments
    module, function = name.split(".")
    request = json.load(sys.stdin)
    result = getattr(importlib.import_module(f"tests.bench.{module}"), function)(**request)
    Path(answer).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
