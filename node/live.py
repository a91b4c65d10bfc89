"""What trains now: its state, loss curve, preview and stop, told to the page as it happens."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from math import exp
from typing import Any

from .curve import Point, Validation, finite, thin, thin_validations
from .run_record import ENDED_STATES, RUNNING_STATES, Record

EVENT = "zoodip.progress"
_INTERVAL = 0.25  # seconds between events: four a second
_KEPT = 8  # ended runs kept for the page

Payload = dict[str, Any]


class Speed:
    """Steps a second, an exponential mean over the last ten steps or five seconds, what is more."""

    def __init__(self) -> None:
        self._steps = self._seconds = 0.0
        self._guess: float | None = None
        self._last: tuple[int, float] | None = None

    def guess(self, seconds_a_step: float) -> None:
        """What to say until something was measured."""
        if (finite(seconds_a_step) or 0) > 0:
            self._guess = 1 / seconds_a_step

    def pause(self) -> None:
        """Something other than steps takes time: the time until the next step is not counted."""
        self._last = None

    def step(self, step: int, now: float) -> None:
        """A step ended at `now`, in seconds."""
        if self._last is not None and step > self._last[0] and now >= self._last[1]:
            seconds = now - self._last[1]
            fade = max(exp(-seconds / 5), 0.9)
            self._steps = fade * self._steps + step - self._last[0]
            self._seconds = fade * self._seconds + seconds
        self._last = (step, now)

    @property
    def steps_a_second(self) -> float | None:
        """None while it is unknown."""
        return finite(self._steps / self._seconds) if self._seconds > 0 else self._guess


class LiveRun:
    """One run, made by the node in the prompt's thread; read and stopped from any thread.

    Events go out at most four a second, but always when the state or the stage changes; the points
    of the curve since the last event go with the next. After `end` nothing changes any more.
    """

    def __init__(
        self,
        key: str,
        node: str,
        workflow: str,
        prompt: str,
        word: str,
        steps: int,
        preview_percent: float | None,
        send: Callable[[str, Payload], object],
        clock: Callable[[], float] = time.monotonic,
        lineage: str | None = None,
    ) -> None:
        """preview_percent: None while it is not known. send: called with the event's name and
        payload; must not wait for another thread. clock: seconds, as time.monotonic. lineage: for
        the record."""
        self.key, self.node, self.workflow, self.prompt = key, node, workflow, prompt
        self.word, self.steps, self.preview_percent = word, steps, preview_percent
        self._lineage = lineage
        self._send, self._clock = send, clock
        # Re-entrant, as what `send` calls may ask for the payload.
        self._mutex = threading.RLock()
        self._ended = threading.Event()
        self._state, self._stage, self._message = "preparing", "", ""
        self._step = 0
        self._curve: list[Point] = []
        self._unsent: list[Point] = []
        self._sent: float | None = None
        self._speed = Speed()
        self._preview: bytes | None = None
        self._preview_step: int | None = None
        self._passes: int | None = None
        self._best_step: int | None = None
        self._compute: str | None = None
        self._compute_choice: str | None = None
        self._validations: list[Validation] = []
        self._foretold: float | None = None
        self._stop_requested = False
        self._stop_callbacks: list[Callable[[], object]] = []

    # What the node tells.

    def stage(self, text: str) -> None:
        """What is being done, in a few words; "training" begins the training."""
        with self._mutex:
            if self.ended:
                return
            if text == "training":
                self._state = "training"
            self._stage = "stopping" if self._stop_requested else text
            self._speed.pause()
            self._emit()

    def taken_over(self, earlier: Record, step: int | None = None) -> None:
        """Goes on from an earlier run: its steps, its curve, its kept preview and its best word.

        step: where it is gone on from, when that is not its last. What lay beyond is left out: it
        was lost and is done again.
        """
        with self._mutex:
            if self.ended:
                return
            self._step = earlier.step if step is None else step
            self._preview_step, self._passes = earlier.preview_step, earlier.passes
            self._compute, self._compute_choice = earlier.compute, earlier.compute_choice
            best = earlier.best_step
            self._best_step = best if best is not None and best <= self._step else None
            self._validations = [one for one in earlier.validations if one[0] <= self._step]
            self._curve = [point for point in earlier.curve if point[0] <= self._step]
            self._unsent = thin(self._curve)
            self._emit()

    def forecast(self, seconds_a_step: float, seconds_left: float | None = None) -> None:
        """The engine's guess, from one step: its speed is told until steps were measured, and how
        long all that is left will take is told at once, and to the end."""
        with self._mutex:
            if self.ended:
                return
            self._speed.guess(seconds_a_step)
            self._foretold = finite(seconds_left)
            self._emit()

    def step(self, step: int, steps: int, loss: float, smooth: float) -> None:
        """A step is done."""
        with self._mutex:
            if self.ended:
                return
            self._speed.step(step, self._clock())
            self._step, self.steps = step, steps
            point = (step, finite(loss), finite(smooth))
            self._curve.append(point)
            self._unsent.append(point)
            begins = self._state != "training"
            self._state = "training"
            if begins or self._is_due():
                self._emit()

    def passes(self, count: int) -> None:
        """How many passes of the UNet the steps have made; told with the next event."""
        with self._mutex:
            if not self.ended:
                self._passes = count

    def computes(self, compute: str, choice: str | None) -> None:
        """What products are made in, and why where the engine chose; told with the next event."""
        with self._mutex:
            if not self.ended:
                self._compute, self._compute_choice = compute, choice

    def validated(self, step: int, loss: float, best: bool) -> None:
        """The fixed samples had this loss, which counts for no step's time; best: no word before
        had so low a one."""
        with self._mutex:
            if self.ended:
                return
            self._speed.pause()
            if self._validations and self._validations[-1][0] >= step:  # done again
                self._validations = [one for one in self._validations if one[0] < step]
            self._validations.append((step, finite(loss)))
            if best:
                self._best_step = step
            if len(self._validations) == 1 or self._is_due():  # a curve begins with its first dot
                self._emit()

    def best_is(self, step: int) -> None:
        """Which step's word had the lowest loss of the fixed samples; told with the next event."""
        with self._mutex:
            if not self.ended:
                self._best_step = step

    def preview(self, step: int, jpeg_bytes: bytes) -> None:
        """A picture drawn with what was learned; the time that it took counts for no step."""
        with self._mutex:
            if self.ended:
                return
            self._speed.pause()
            self._preview, self._preview_step = jpeg_bytes, step
            if self._is_due():
                self._emit()

    def end(self, state: str, message: str = "") -> None:
        """The run is over: finished, stopped, interrupted, failed or reused. The first end counts.

        Raises ValueError for another state.
        """
        if state not in ENDED_STATES:
            raise ValueError(f"state: needs one of {', '.join(ENDED_STATES)}; got {state!r}")
        with self._mutex:
            if not self.ended:
                self._state, self._stage, self._message = state, "", message
                self._emit()
        self._ended.set()

    # Stopping.

    def on_stop(self, callback: Callable[[], object]) -> None:
        """Registers what stops the training; called at once if a stop was asked for already."""
        with self._mutex:
            if not self._stop_requested:
                self._stop_callbacks.append(callback)
                return
        callback()

    def request_stop(self) -> bool:
        """Asks the training to stop and to keep what it learned; False when it is not running."""
        with self._mutex:
            if self.ended:
                return False
            if self._stop_requested:
                return True
            self._stop_requested = True
            self._stage = "stopping"
            self._emit()
            callbacks = self._stop_callbacks
        for callback in callbacks:
            callback()
        return True

    @property
    def stop_requested(self) -> bool:
        """Whether it was asked to stop while it ran."""
        return self._stop_requested

    @property
    def ended(self) -> bool:
        """Whether `end` was called."""
        return self._state not in RUNNING_STATES

    def wait(self, seconds: float) -> bool:
        """Waits until `end` was called, at most so long; says whether it was."""
        return self._ended.wait(seconds)

    # What others read.

    @property
    def state(self) -> str:
        """One of RUNNING_STATES or ENDED_STATES."""
        return self._state

    @property
    def payload(self) -> Payload:
        """All that the page shows, with the whole curve, thinned."""
        with self._mutex:
            payload, curve = self._describe(()), self._curve.copy()
        payload["points"] = _as_lists(thin(curve))
        return payload

    @property
    def losses(self) -> list[float]:
        """The losses of all steps in order, without those that were not finite."""
        return self.record().losses

    @property
    def preview_jpeg(self) -> bytes | None:
        """The latest preview drawn in this run, None before the first."""
        return self._preview

    def record(self) -> Record:
        """The run as the store keeps it; one that was reused had been finished before."""
        with self._mutex:
            record = self._record(self._curve.copy())
        return replace(record, state="finished") if record.state == "reused" else record

    # Inside, with the mutex held.

    def _record(self, curve: Sequence[Point]) -> Record:
        return Record(
            key=self.key,
            word=self.word,
            state=self._state,
            step=self._step,
            steps=self.steps,
            message=self._message,
            curve=curve,
            node=self.node,
            workflow=self.workflow,
            prompt=self.prompt,
            preview_percent=self.preview_percent,
            preview_step=self._preview_step,
            passes=self._passes,
            best_step=self._best_step,
            compute=self._compute,
            compute_choice=self._compute_choice,
            validations=self._validations.copy(),
            lineage=self._lineage,
        )

    def _describe(self, points: Sequence[Point]) -> Payload:
        payload = _describe(self._record(self._curve[-1:]), points)
        speed = self._speed.steps_a_second
        payload |= {"stage": self._stage, "speed": speed, "foretold": self._foretold}
        if speed and self._state == "training":
            payload["seconds_left"] = finite(max(0, self.steps - self._step) / speed)
        return payload

    def _is_due(self) -> bool:
        return self._sent is None or self._clock() - self._sent >= _INTERVAL

    def _emit(self) -> None:
        self._sent = self._clock()
        # A page that cannot be reached must not end a training: the points go with the next event.
        with suppress(Exception):
            self._send(EVENT, self._describe(self._unsent))
            self._unsent = []


def beginning_key(workflow: str, node: str) -> str:
    """Of what a node shows before its training has a key; no training has this one."""
    return hashlib.sha256(f"begins\0{workflow}\0{node}".encode()).hexdigest()


class LiveRuns:
    """The runs of this process by key, the ended ones kept for a while. Safe from any thread."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._runs: dict[str, LiveRun] = {}  # in the order of their beginning
        self._closing = False

    def add(self, run: LiveRun) -> None:
        """Takes a run in, in place of an earlier one of its key, and of what its node showed while
        it began. After `shutdown` it is stopped."""
        with self._mutex:
            self._runs.pop(run.key, None)
            self._runs.pop(beginning_key(run.workflow, run.node), None)
            self._runs[run.key] = run
            ended = [other.key for other in self._runs.values() if other.ended]
            for key in ended[: max(0, len(ended) - _KEPT)]:
                del self._runs[key]
            closing = self._closing
        if closing:
            run.request_stop()

    def drop(self, run: LiveRun) -> None:
        """Forgets a run, if it is still there."""
        with self._mutex:
            if self._runs.get(run.key) is run:
                del self._runs[run.key]

    def get(self, key: str) -> LiveRun | None:
        """The run of a key."""
        with self._mutex:
            return self._runs.get(key)

    def of_node(self, workflow: str, node: str) -> LiveRun | None:
        """The latest run of a node of a workflow."""
        return self._latest(lambda run: (run.workflow, run.node) == (workflow, node))

    def current(self) -> LiveRun | None:
        """The run that is running."""
        return self._latest(lambda run: not run.ended)

    def forget_ended(self) -> None:
        """Drops the ended ones."""
        with self._mutex:
            self._runs = {key: run for key, run in self._runs.items() if not run.ended}

    def shutdown(self, timeout: float = 10.0) -> bool:
        """Stops all running ones and waits, at most `timeout` seconds, until they ended.

        Says whether all did. A run that is added later is stopped at once.
        """
        with self._mutex:
            self._closing = True
            running = [run for run in self._runs.values() if not run.ended]
        until = time.monotonic() + timeout
        for run in running:
            with suppress(Exception):  # the others are to be stopped too
                run.request_stop()
        return all([run.wait(max(0.0, until - time.monotonic())) for run in running])

    def rest_when_closing(self) -> None:
        """After `shutdown` does not return for a minute, which this process does not live.

        A thread that goes on into torch while the interpreter ends aborts the process.
        """
        if self._closing:
            threading.Event().wait(60)

    def _latest(self, wanted: Callable[[LiveRun], bool]) -> LiveRun | None:
        with self._mutex:
            return next((run for run in reversed(self._runs.values()) if wanted(run)), None)


def stored_payload(record: Record) -> Payload:
    """What the page shows of a run that only the store knows."""
    if record.state in RUNNING_STATES:
        record = replace(
            record,
            state="interrupted",
            message="ComfyUI ended during this training: queue it again to go on with it.",
        )
    return _describe(record, thin(record.curve))


def _describe(record: Record, points: Sequence[Point]) -> Payload:
    """The payload of a run; its loss is that of the curve's last point."""
    _, loss, smooth = record.curve[-1] if record.curve else (0, None, None)
    preview = None
    if record.preview_step is not None:
        url = f"/zoodip/runs/{record.key}/preview?step={record.preview_step}"
        preview = {"step": record.preview_step, "url": url}
    return {
        "run": record.key,
        "node": record.node,
        "workflow": record.workflow,
        "prompt": record.prompt,
        "word": record.word,
        "state": record.state,
        "stage": "",
        "step": record.step,
        "steps": record.steps,
        "passes": record.passes,
        "best_step": record.best_step,
        "compute": record.compute,
        "compute_choice": record.compute_choice,
        "validations": _as_lists(thin_validations(record.validations)),
        "speed": None,
        "seconds_left": None,
        "foretold": None,
        "loss": loss,
        "smooth": smooth,
        "points": _as_lists(points),
        "message": record.message,
        "preview": preview,
        "preview_percent": record.preview_percent,
    }


def _as_lists(points: Sequence[tuple]) -> list[list[float | None]]:
    return [list(point) for point in points]
