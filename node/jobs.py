"""The jobs of this ComfyUI: what its nodes train, what scripts ask for, what was learned before.

All of them are the engine's (native/jobs, zoodip.service). The page asks for them on ComfyUI's own
server; scripts may be given an address of their own, which is off unless a setting or the
environment says otherwise:

ZOODIP_HTTP   1 or a port turns it on, 0 turns it off; without it the setting decides
ZOODIP_TOKEN  what requests there must bear; without it they need nothing
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from .files import read_json, write_atomically
from .native import engine_problem, part

log = logging.getLogger("zoodip")

EVENT = "zoodip.progress"

# There is no command line here on which to name another.
_WHEN_TAKEN = (
    "Start ComfyUI with ZOODIP_HTTP=PORT in its environment to take another port, or end that "
    "program and turn the setting 'ZOODiP: HTTP API for scripts' off and on"
)


def asked_port(environment: Mapping[str, str], default: int) -> int | None:
    """What ZOODIP_HTTP says: a port, 0 for off, None where it says nothing.

    Raises ValueError for anything else.
    """
    value = environment.get("ZOODIP_HTTP", "").strip().lower()
    words = {"": None} | dict.fromkeys(("1", "on", "true", "yes"), default)
    words |= dict.fromkeys(("0", "off", "false", "no"), 0)
    if value in words:
        return words[value]
    if value.isascii() and value.isdecimal() and 0 < int(value) < 65536:
        return int(value)
    raise ValueError(f"ZOODIP_HTTP: needs 1, 0 or a port, got {value!r:.40}")


class Jobs:
    """Opens the service when it is first needed, and its address where that is wanted. Safe from
    any thread; opening may wait for the disk."""

    def __init__(
        self,
        root: Path,
        options: Callable[[], dict[str, Any]],
        send: Callable[[str, dict[str, Any]], object],
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        """root: the package's folder in ComfyUI's user folder. options: folders and defaults for
        zoodip.service.Service, asked for when it opens. send: called with the event's name and
        each job as it changes; must not wait for another thread."""
        self._root, self._options, self._send = root, options, send
        self._file = root / "http.json"
        self._environment = environment
        self._mutex = threading.RLock()
        self._service: Any | None = None
        self._problem = ""
        self._learning = threading.Condition()
        self._learners = 0
        self._closing = False

    def service(self) -> Any:
        """The zoodip.service.Service. Raises RuntimeError where no engine is built and after `end`,
        zoodip.Error or OSError where the folder cannot be used."""
        with self._mutex:
            if self._service is None:
                problem = engine_problem()
                if problem is not None:
                    raise RuntimeError(problem)
                if self._closing:
                    raise RuntimeError("ComfyUI is ending.")
                self._root.mkdir(parents=True, exist_ok=True)
                _adopt_earlier(self._root)
                self._service = part("service").Service(
                    jobs=self._root / "runs",
                    port=None,
                    shared=True,
                    # A finished training is given back for as long as there is room for it.
                    kept=100_000,
                    kept_days=36_500,
                    kept_mb=256,
                    **self._options(),
                )
                _adopt_places(self._root, self._service)
                self._service.listen(lambda job: self._send(EVENT, job))
            return self._service

    @contextmanager
    def learning(self) -> Iterator[None]:
        """Around what learns in the engine: `end` waits for it. Does not return where ComfyUI is
        ending, as a thread that goes on into torch while the interpreter ends aborts the process.
        """
        with self._learning:
            self._learners += 1
        try:
            yield
        finally:
            with self._learning:
                self._learners -= 1
                self._learning.notify_all()
                closing = self._closing
            if closing:
                threading.Event().wait(60)  # which this process does not live

    @contextmanager
    def beginning(
        self, word: str, steps: int, place: dict[str, str], interruption: type[BaseException]
    ) -> Iterator[Any]:
        """A job, as zoodip.service.Service.begin gives it, that shows on the node that it began, in
        place of its last one, before its training has a key: the wires are read and the pictures
        looked at, which takes a while and may fail. An error is shown as well, and raised on.

        place: node, workflow and prompt. interruption: what ends a prompt without being an error.
        """
        try:
            service = self.service()
        except Exception as error:
            failed = {"id": uuid.uuid4().hex, "state": "failed", "message": str(error)}
            failed |= {"word": word, "graph": place, "step": 0, "steps": steps, "points": []}
            self._send(EVENT, failed)
            raise
        job = service.begin(**place, word=word, steps=steps)
        with self.learning():
            try:
                job.on_stage("reading the model and the pictures")
                yield job
            except interruption:
                job.end("interrupted", "Interrupted before the first step; nothing was learned.")
                raise
            except BaseException as error:
                job.end("failed", str(error).strip() or type(error).__name__)
                raise

    def begin(self) -> None:
        """Serves where environment or setting say so. Never raises: `state` has the problem."""
        with self._mutex:
            self._follow()

    def set_enabled(self, enabled: bool) -> None:
        """Keeps the setting, and serves or stops. Raises OSError when it cannot be kept."""
        with self._mutex:
            self._root.mkdir(parents=True, exist_ok=True)
            write_atomically(self._file, json.dumps({"enabled": enabled}).encode())
            self._follow()

    @property
    def state(self) -> dict[str, Any]:
        """For the page: what is set, where it serves, why it does not, and whether the environment
        decides."""
        with self._mutex:
            return {
                "enabled": self._is_set(),
                "url": self._url or None,
                "problem": self._problem,
                "decided_by_environment": bool(self._environment.get("ZOODIP_HTTP", "").strip()),
            }

    def end(self, seconds: float = 10.0) -> None:
        """Stops what runs, keeps what it learned, and waits for it, at most so long. What begins
        meanwhile is stopped at once, and nothing begins afterwards."""
        with self._learning:
            self._closing = True
        with self._mutex:
            service = self._service
        if service is None:
            return
        service.stop_graphs(seconds)
        with self._learning:
            self._learning.wait_for(lambda: self._learners == 0, seconds)
        with self._mutex:
            self._service = None
        service.close()

    # With the mutex held.

    @property
    def _url(self) -> str:
        return self._service.url if self._service is not None else ""

    def _is_set(self) -> bool:
        try:
            return read_json(self._file)["enabled"] is True
        except (OSError, ValueError, TypeError, KeyError):
            return False

    def _follow(self) -> None:
        """Serves, or no longer, as environment or setting say."""
        try:
            default = part("service").DEFAULT_PORT
            port = asked_port(self._environment, default)
            if port is None:
                port = default if self._is_set() else 0
            if port and not self._url:
                token = self._environment.get("ZOODIP_TOKEN", "")
                self.service().serve(port=port, token=token, when_taken=_WHEN_TAKEN)
                self._problem = ""
                log.info("ZOODiP: HTTP API on %s", self._url)
            elif self._url and not port:
                self._service.stop_serving()
                self._problem = ""
                log.info("ZOODiP: the HTTP API is off")
        except Exception as error:  # ComfyUI goes on without it
            self._problem = str(error)
            log.warning("ZOODiP: no HTTP API: %s", error)


def _adopt_earlier(root: Path) -> None:
    """Earlier versions kept jobs of scripts, the size limit and locks beside the folder of runs."""
    runs, jobs, names = root / "runs", root / "jobs", "[0-9a-f]*"
    with suppress(OSError):
        runs.mkdir(exist_ok=True)
    moved = [(job, runs / job.name) for job in jobs.glob(names)]
    for earlier, now in [*moved, (root / "store.json", runs / "store.json")]:
        with suppress(OSError):
            earlier.rename(now)
    if not any(jobs.glob(names)):  # else the next start tries again
        shutil.rmtree(jobs, ignore_errors=True)
    shutil.rmtree(root / "locks", ignore_errors=True)


def _adopt_places(root: Path, service: Any) -> None:
    """Earlier versions kept in a file of its own which run each node showed."""
    file = root / "nodes.json"
    with suppress(OSError, ValueError, TypeError, KeyError):
        for workflow, node, run in read_json(file)["nodes"]:
            body = json.dumps({"node": node, "workflow": workflow}).encode()
            headers = [("content-type", "application/json"), ("content-length", str(len(body)))]
            service.answer("POST", f"/v1/jobs/{run}/show", headers, body)
    with suppress(OSError):
        file.unlink()
