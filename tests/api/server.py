"""`zoodip serve` as a process that is started, stopped, killed and started again on its folder."""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Last, so that a zoodip that was installed on purpose is the one under test.
sys.path += [str(ROOT / name) for name in ("native/python", "tests/tools")]

import program  # noqa: E402
from comfy import wait_for  # noqa: E402
from material import write_noise, write_tiny_model  # noqa: E402
from zoodip.client import Client, Event, Job  # noqa: E402

__all__ = ["LONG", "QUICK", "Material", "Server", "has_stepped", "quiet", "wait_for"]

# One thread: the model is too small for more, and other work may share the machine.
QUICK = program.QUICK | {"threads": 1}
LONG = QUICK | {"steps": 1_000_000}
MODEL = "tiny.safetensors"
FOLDER = "noise"

START_S = 60
STOP_S = 30
JOB_S = 60


@dataclass(frozen=True)
class Material:
    """The roots that a server is given, with what its jobs name."""

    models: Path
    images: Path

    @classmethod
    def write(cls, folder: Path) -> Material:
        """`noise` has a caption, as folders may; `plain` has none, as what is sent."""
        models, images = folder / "models", folder / "images"
        (models / "sub").mkdir(parents=True)
        write_tiny_model(models / MODEL)
        shutil.copy(models / MODEL, models / "sub" / "deep.safetensors")
        write_noise(images / FOLDER)
        write_noise(images / "plain", caption="")
        return cls(models, images)

    @property
    def model(self) -> Path:
        return self.models / MODEL

    def pictures(self) -> list[Path]:
        return sorted((self.images / "plain").glob("*.png"))


class Server:
    """A server whose jobs are kept in `folder`; its port stays the same when it starts again."""

    def __init__(self, material: Material, folder: Path, *words: str, **environment: str) -> None:
        self.material = material
        self.jobs = folder / "jobs"
        self.log = folder / "server.log"
        self.port = 0
        self.process: subprocess.Popen[str] | None = None
        self.prefix: list[str] = []  # a program that becomes the server, with its words
        self._words = words
        self._environment = environment

    def command(self) -> list[str]:
        from zoodip import _native

        program = Path(_native.__file__).parent / "zoodip"
        words = [program, "serve", "--models", self.material.models]
        words += ["--images", self.material.images, "--jobs", self.jobs, "--port", self.port]
        return [str(word) for word in [*self.prefix, *words, *self._words]]

    def environment(self) -> dict[str, str]:
        here = {name: value for name, value in os.environ.items() if name != "ZOODIP_TOKEN"}
        return here | self._environment

    def start(self) -> Server:
        assert not self.alive
        self.jobs.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                self.command(),
                stdout=subprocess.PIPE,
                stderr=log,
                env=self.environment(),
                text=True,
            )
        line = ""
        if select.select([self.process.stdout], [], [], START_S)[0]:
            line = self.process.stdout.readline()
        found = re.fullmatch(r"zoodip: serving on http://\S+:(\d+)\n", line)
        if found is None:
            self.close()
            raise AssertionError(f"it did not start: {line!r}\n{self.log_tail()}")
        self.port = int(found[1])
        return self

    def refusal(self) -> str:
        """What it says on stderr when it must not start."""
        result = subprocess.run(
            self.command(),
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=START_S,
        )
        assert result.returncode in (1, 2) and result.stdout == "", result
        return result.stderr

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def client(self, token: str | None = None, timeout: float = 30) -> Client:
        return Client(f"http://127.0.0.1:{self.port}", token, timeout)

    def stop(self, signal_number: int = signal.SIGTERM) -> float:
        """Ends it as a service manager does; returns the seconds that it took."""
        begun = time.monotonic()
        self.process.send_signal(signal_number)
        status = self.process.wait(STOP_S)
        took = time.monotonic() - begun
        assert status == 0, self.log_tail()
        assert self.process.stdout.read() == "", "it says one line on stdout, and no more"
        self.process.stdout.close()
        return took

    def kill(self) -> None:
        self.process.kill()
        assert self.process.wait() == -signal.SIGKILL, "it ended before it could be killed"
        self.process.stdout.close()

    def close(self) -> None:
        """Ends it, whatever has become of it."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()

    def log_tail(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]


def train(client: Client, word: str = "sks", **settings: bool | int | float | str) -> Job:
    """A job from the folder of pictures."""
    return client.train(MODEL, FOLDER, word, "dog", **(settings or QUICK))


def has_stepped(client: Client, job: Job, step: int = 1) -> Job:
    """The job when it runs and has done so many steps."""

    def far_enough() -> Job | None:
        now = client.job(job.id)
        assert not now.has_ended, now
        return now if now.state == "running" and now.step >= step else None

    return wait_for(far_enough, JOB_S, f"step {step}")


def quiet(client: Client) -> None:
    """Ends and forgets every job."""
    from zoodip.client import ApiError

    def unless_gone(do: Callable[..., object], *args: object) -> None:
        """Does it to a job that may have ended (409) or been forgotten (404) meanwhile: the server
        keeps so many of the ended, and a request that nobody waited for may delete one."""
        try:
            do(*args)
        except ApiError as error:
            assert error.status in (404, 409), error

    for job in client.jobs():
        if not job.has_ended:
            unless_gone(client.cancel, job.id)
    for job in client.jobs():
        unless_gone(client.wait, job.id, JOB_S)
        unless_gone(client.delete, job.id)
    assert client.jobs() == []


def check_events(events: list[Event]) -> None:
    """What holds for the events of every job that has ended."""
    assert [event.id for event in events] == list(range(1, len(events) + 1))
    states = [event.data["state"] for event in events if event.name == "state"]
    assert states[-1] in ("finished", "stopped", "cancelled", "failed"), states
    ends = [state for state in states if state not in ("queued", "running")]
    assert len(ends) == 1, states
