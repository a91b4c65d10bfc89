"""The HTTP API inside ComfyUI: off, unless its setting or the environment says otherwise.

ZOODIP_HTTP   1 or a port turns it on, 0 turns it off; without it the setting decides
ZOODIP_TOKEN  what requests must bear; without it they need nothing
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .native import zoodip
from .store_files import read_json, write_atomically

log = logging.getLogger("zoodip")

# There is no command line here on which to name another.
_WHEN_TAKEN = (
    "Start ComfyUI with ZOODIP_HTTP=PORT in its environment to take another port, or end that "
    "program and turn the setting 'ZOODiP: HTTP API for scripts' off and on"
)

_OFF, _ON = {"0", "off", "false", "no"}, {"1", "on", "true", "yes"}


def asked_port(environment: Mapping[str, str], default: int) -> int | None:
    """What ZOODIP_HTTP says: a port, 0 for off, None where it says nothing.

    Raises ValueError for anything else.
    """
    value = environment.get("ZOODIP_HTTP", "").strip().lower()
    if value in _OFF:
        return 0
    if value in _ON:
        return default
    if not value:
        return None
    if value.isascii() and value.isdecimal() and 0 < int(value) < 65536:
        return int(value)
    raise ValueError(f"ZOODIP_HTTP: needs 1, 0 or a port, got {value!r:.40}")


class HttpApi:
    """Starts and stops the service. Safe from any thread; a start may wait for the disk."""

    def __init__(
        self,
        root: Path,
        options: Callable[[], dict[str, Any]],
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        """root: the package's folder in ComfyUI's user folder. options: folders and defaults for
        zoodip.service.Service, asked for when it starts."""
        self._root, self._options, self._environment = root, options, environment
        self._mutex = threading.Lock()
        self._service: Any | None = None
        self._problem = ""

    def begin(self) -> None:
        """Starts it where environment or setting say so. Never raises: `state` has the problem."""
        with self._mutex:
            if self._wanted():
                self._start()

    def set_enabled(self, enabled: bool) -> None:
        """Keeps the setting, and starts or stops. Raises OSError when it cannot be kept."""
        with self._mutex:
            self._root.mkdir(parents=True, exist_ok=True)
            write_atomically(self._file, json.dumps({"enabled": enabled}).encode())
            if self._service is None and self._wanted():
                self._start()
            elif self._service is not None and not self._wanted():
                self._stop()

    @property
    def state(self) -> dict[str, Any]:
        """For the page: what is set, where it serves, why it does not, and whether the environment
        decides."""
        with self._mutex:
            return {
                "enabled": self._is_set(),
                "url": self._service.url if self._service is not None else None,
                "problem": self._problem,
                "decided_by_environment": bool(self._environment.get("ZOODIP_HTTP", "").strip()),
            }

    def enter(self, **training: Any) -> Any | None:
        """A place for a training among the jobs; None where the API is off."""
        with self._mutex:
            return self._service.enter(**training) if self._service is not None else None

    def end(self) -> None:
        """Stops it, with what runs kept."""
        with self._mutex:
            self._stop()

    # With the mutex held.

    @property
    def _file(self) -> Path:
        return self._root / "http.json"

    def _is_set(self) -> bool:
        try:
            return read_json(self._file)["enabled"] is True
        except (OSError, ValueError, TypeError, KeyError):
            return False

    def _port(self) -> int:
        """0: off."""
        default = _service_module().DEFAULT_PORT
        asked = asked_port(self._environment, default)
        return asked if asked is not None else default if self._is_set() else 0

    def _wanted(self) -> bool:
        try:
            return self._port() > 0
        except ValueError as error:
            self._fail(error)
            return False

    def _start(self) -> None:
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            self._service = _service_module().Service(
                jobs=self._root / "jobs",
                port=self._port(),
                token=self._environment.get("ZOODIP_TOKEN", ""),
                when_taken=_WHEN_TAKEN,
                **self._options(),
            )
        except Exception as error:  # ComfyUI goes on without it
            self._fail(error)
        else:
            self._problem = ""
            log.info("ZOODiP: HTTP API on %s", self._service.url)

    def _stop(self) -> None:
        service, self._service, self._problem = self._service, None, ""
        if service is not None:
            service.close()
            log.info("ZOODiP: the HTTP API is off")

    def _fail(self, error: Exception) -> None:
        self._problem = str(error)
        log.warning("ZOODiP: no HTTP API: %s", error)


def _service_module() -> Any:
    zoodip()
    return importlib.import_module("zoodip.service")
