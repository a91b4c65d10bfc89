"""A training's place among those of the HTTP API: it waits, is watched and is stopped there."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from .live import LiveRun
from .native import zoodip

log = logging.getLogger("zoodip")

_LOOK_SECONDS = 0.2  # between two looks at whether the wait was interrupted

# How the API calls the ends of a run. What was interrupted the node keeps, and goes on with it.
_STATES = {"finished": "finished", "stopped": "stopped", "interrupted": "cancelled"}


class Turn:
    """Where no API runs, nothing waits and nobody watches."""

    def __init__(self, entered: Any | None = None) -> None:
        """entered: what zoodip.service.Service.enter gave."""
        self._entered = entered
        self.cancel = entered.cancel_token if entered is not None else zoodip().CancelToken()

    def wait(self, live: LiveRun) -> None:
        """Until the device is free. Raises zoodip.Cancelled when the wait was ended."""
        if self._entered is None:
            return
        if not self._entered.wait(0):
            live.stage("waiting for another training")
        while not self._entered.wait(_LOOK_SECONDS) and not self.cancel.cancelled:
            pass
        if self.cancel.cancelled:
            raise zoodip().Cancelled

    @property
    def stop_is_wished(self) -> bool:
        """Whether the API asked to stop and to keep what was learned."""
        return self._entered is not None and self._entered.wish == "stop"

    def stage(self, text: str) -> None:
        self._tell(lambda entered: entered.on_stage(text))

    def start(self, step: int, steps: int) -> None:
        self._tell(lambda entered: entered.on_start(step, steps))

    def step(self, step: int, steps: int, loss: float, smooth: float) -> None:
        self._tell(lambda entered: entered.on_step(step, steps, loss, smooth))

    def preview(self, step: int, jpeg: bytes) -> None:
        self._tell(lambda entered: entered.preview(step, jpeg))

    def end(self, state: str, message: str, token: str = "") -> None:
        """state: as LiveRun has it. The next training's turn comes."""
        self._tell(lambda entered: entered.end(_STATES.get(state, "failed"), message, token))

    def _tell(self, say: Callable[[Any], object]) -> None:
        if self._entered is None:
            return
        try:
            say(self._entered)
        except Exception as error:  # who watches must not end what is watched
            log.warning("ZOODiP: the HTTP API was not told: %s", error)
