"""A training whose progress a test holds in its hand: its log is a pipe that holds little."""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# The smallest pipe. An event of a step has more than 150 bytes, so that the process is at most
# PIPE / 150 steps ahead of what has been read.
PIPE = 4096
AHEAD = PIPE // 150 + 1


def open_pipe(path: Path) -> int:
    """Makes a pipe and opens its reading end without waiting for a writer."""
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, PIPE)
    return reader


class GatedRun:
    """The program with `--log` to a pipe in `folder`; its events are read one after another."""

    def __init__(
        self,
        program: Path,
        words: list[str],
        folder: Path,
        environment: dict[str, str] | None = None,
    ) -> None:
        pipe = folder / "log.pipe"
        pipe.unlink(missing_ok=True)
        self._reader = open_pipe(pipe)
        self._held = b""
        self.said = ""
        self.process = subprocess.Popen(
            [program, *words, "--log", str(pipe)],
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def read(self, *others: int) -> bool:
        """Waits for more of the log, or for one of the other pipes to be written to, which is True.

        Raises EOFError when the process has ended.
        """
        poll = select.poll()
        for pipe in (self._reader, *others):
            poll.register(pipe, select.POLLIN)
        found = poll.poll(1000)
        if any(pipe in others and state & select.POLLIN for pipe, state in found):
            return True
        more = b""
        if found:
            more = os.read(self._reader, PIPE)
        if not more and self.process.poll() is not None:
            self.said += self.process.stderr.read()
            raise EOFError(self.said)
        self._held += more
        return False

    def events(self) -> Iterator[dict[str, Any]]:
        """Events as they come, to the end of the process."""
        while True:
            while b"\n" in self._held:
                line, self._held = self._held.split(b"\n", 1)
                yield json.loads(line)
            try:
                self.read()
            except EOFError:
                return

    def until(self, name: str, step: int) -> dict[str, Any]:
        """The first event of this name at this step or a later one."""
        for event in self.events():
            if event["event"] == name and event["step"] >= step:
                return event
        raise AssertionError(f"the run ended before {name} {step}: {self.said}")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.close()
        assert self.process.returncode == -signal.SIGKILL, "it ended before it could be killed"

    def finish(self) -> int:
        """Lets it run to its end; returns the exit status. What it said is `said`."""
        for _ in self.events():
            pass
        self.close()
        return self.process.wait()

    def close(self) -> None:
        os.close(self._reader)
        self.process.stderr.close()
