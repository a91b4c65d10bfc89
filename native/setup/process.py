"""Commands, their logs, and the one-line failure."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path


class Failure(Exception):
    """Something the user can mend; the message is one line that says how."""


def say(text: str) -> None:
    print(text, flush=True)


def capture(command: Sequence[str]) -> str:
    """What a command prints; empty where it cannot be run or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    except OSError:
        return ""
    return done.stdout if done.returncode == 0 else ""


def run_logged(
    command: Sequence[str],
    log: Path,
    on_line: Callable[[str], None] = lambda line: None,
    environment: Mapping[str, str] | None = None,
) -> int:
    """Runs a command with all its output in `log`, a line at a time to `on_line`; exit status."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with (
        log.open("w", encoding="utf-8") as file,
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            env=environment,
        ) as process,
    ):
        for line in process.stdout or []:
            file.write(line)
            file.flush()
            on_line(line.rstrip())
        return process.wait()


def show_end(log: Path, lines: int = 25) -> None:
    """Shows the last lines of a log: the part that says what went wrong."""
    text = log.read_text(encoding="utf-8", errors="replace").splitlines()
    telling = [line for line in text if not re.match(r"\[ *\d+(/\d+|%)\]", line)]
    say("\n".join(telling[-lines:]))


def advice(log: Path) -> str:
    """What a failed command's log asks for, as the end of a sentence."""
    text = log.read_text(encoding="utf-8", errors="replace")
    if "No space left on device" in text:
        return "the disk is full: free some space and run this again"
    if "Killed signal" in text or "MemoryError" in text:
        return "memory ran out: run this again with CMAKE_BUILD_PARALLEL_LEVEL=1"
    return f"the whole output is in {log}; mend what it names and run this again"
