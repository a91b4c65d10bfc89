"""One training, from the store or by the engine: what both Personalize nodes do."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch

from .going_on import copy_kept, kept_step, longest
from .live import LiveRun, LiveRuns
from .native import graph, version, zoodip
from .resolution import resolved
from .run_record import Record
from .settings import deciding
from .store import Store, StoreError
from .token import Token, TokenError, read_token
from .turn import Turn

log = logging.getLogger("zoodip")

_BAR_SECONDS = 0.25  # between two moves of the node's progress bar
_SAVE_SECONDS = 30.0  # between two writings of the curve, which a killed process leaves behind


class Host(Protocol):
    """What is asked of ComfyUI; node/host.py is the real one."""

    def send(self, event: str, payload: dict[str, Any]) -> None: ...
    def free_memory(self, needed: int) -> None: ...
    def memory_given_back(self) -> None: ...
    def interruption(self) -> Exception: ...
    def watch_interruption(self, cancel: Callable[[], object]) -> Any: ...
    def progress_bar(self, steps: int, node: str) -> Callable[..., None]: ...
    def rest_if_ending(self) -> None: ...
    def enter(self, training: Training) -> Turn: ...


@dataclass(frozen=True)
class Place:
    """Which node of which graph asks."""

    node: str = ""
    workflow: str = ""
    prompt: str = ""


@dataclass(frozen=True)
class Training:
    """All that decides what is learned, and what to show meanwhile."""

    weights: Any
    """zoodip.graph.Weights, or a checkpoint's path."""
    digest: str
    """Stands for the weights with all that is patched into them."""
    pictures: list[Any]
    """zoodip.graph.Picture."""
    word: str
    initialiser: tuple[str, list[int] | dict[str, torch.Tensor]]
    """As the user wrote it; token ids, or by text encoder vectors float32 [count, width]."""
    empty_text: Any
    settings: dict[str, bool | int | float | str]
    """What was chosen; once `resolved`, all of them."""
    compute_choice: str = ""
    """Why its products are of their type, once `resolved`; it decides nothing."""
    alphas_cumprod: list[float] | None = None
    expected: Callable[[], Any] | None = None
    """Makes zoodip.graph.Expected; asked for only when the engine is to run."""
    preview_percent: float = 0.0
    preview: Callable[[torch.Tensor], bytes | None] | None = None
    """Latents -> JPEG."""
    parking: Callable[[], AbstractContextManager] = nullcontext
    """Makes the host's own model small while the engine trains."""

    @property
    def steps(self) -> int:
        """How many are asked for; 0 before it is `resolved`, where that is left to the method."""
        return int(self.settings.get("steps", 0))

    @property
    def key(self) -> str:
        """64 hexadecimal digits of all that decides what is learned, and of the version."""
        return self._digest_of(deciding(self.settings))

    @property
    def lineage(self) -> str:
        """64 hexadecimal digits that trainings share which differ in when they end, or in which of
        their words they take then. Where the learning rate falls over the steps they differ from
        the first one on."""
        settings = deciding(self.settings)
        settings.pop("take", None)
        if settings.get("learning_rate_schedule", "constant") == "constant":
            settings.pop("steps", None)
        return self._digest_of(settings)

    def _digest_of(self, settings: dict[str, Any]) -> str:
        start = self.initialiser[1]
        decided = json.dumps(settings, sort_keys=True)
        parts = [version(), self.digest, self.word, self.initialiser[0], decided]
        parts += [_digest_all(start) if isinstance(start, Mapping) else str(start)]
        parts += [repr(self.alphas_cumprod)]
        for picture in self.pictures:
            parts += [picture.sha256, picture.caption, str(picture.text.ids.tolist())]
            parts += [_digest_all(picture.text.fixed_vectors)]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def _digest(tensor: torch.Tensor) -> str:
    return hashlib.sha256(tensor.detach().cpu().contiguous().numpy().tobytes()).hexdigest()


def _digest_all(tensors: Mapping[str, torch.Tensor]) -> str:
    """Of one encoder's that of the tensor; "" of none."""
    if len(tensors) <= 1:
        return "".join(_digest(tensor) for tensor in tensors.values())
    return " ".join(f"{key} {_digest(tensor)}" for key, tensor in sorted(tensors.items()))


@dataclass(frozen=True)
class Learned:
    """What a training gives to the graph."""

    token: Token
    losses: list[float] = field(repr=False)
    steps: int = 0
    finished: bool = True
    """False: the user chose to stop and keep; asked again, it goes on."""


def learn(training: Training, place: Place, store: Store, runs: LiveRuns, host: Host) -> Learned:
    """The word, from the store when it was learned before.

    Raises:
        ComfyUI's interruption when the prompt was interrupted; what was learned is kept.
        StoreError, or zoodip.Error: one sentence.
    """
    try:
        training = resolved(training, store, host)
    except Exception as error:
        live = _live_run(training, place, host)
        runs.add(live)
        live.end("failed", str(error))
        _keep(store, live)
        raise
    live = _live_run(training, place, host)
    key = live.key
    record = store.finished(key)
    token = None
    if record is not None:
        with suppress(TokenError):  # a damaged one is trained anew
            token = read_token(store.token_path(key))
    if record is not None and token is not None:
        runs.add(live)
        store.set_node_run(place.workflow, place.node, key)
        live.taken_over(record)
        live.end("reused", "Learned before with the same inputs: taken from the store.")
        return Learned(token, record.losses, record.step)
    with store.hold(key):
        runs.add(live)
        store.set_node_run(place.workflow, place.node, key)
        return _Session(training, live, store, host).run()


def _live_run(training: Training, place: Place, host: Host) -> LiveRun:
    return LiveRun(
        training.key,
        place.node,
        place.workflow,
        place.prompt,
        training.word,
        training.steps,
        training.preview_percent,
        host.send,
        lineage=training.lineage,
    )


def _keep(store: Store, live: LiveRun) -> None:
    """A training that could not begin, for the page to show after a reload."""
    try:
        store.save(live.record())
        store.set_node_run(live.workflow, live.node, live.key)
    except StoreError as error:
        log.warning("%s", error)


class _Session:
    """The engine at work on one training."""

    def __init__(self, training: Training, live: LiveRun, store: Store, host: Host) -> None:
        self._training, self._live, self._store, self._host = training, live, store, host
        self._turn = host.enter(training)
        self._cancel = self._turn.cancel
        self._bar = host.progress_bar(training.steps, live.node)
        self._bar_moved = 0.0
        self._saved = time.monotonic()
        self._drawn: bytes | None = None
        self._done = 0

    def run(self) -> Learned:
        live = self._live
        earlier = self._earlier()
        if earlier is not None:
            kept = kept_step(self._store, live.key)
            self._done = earlier.step if kept is None else kept
            live.taken_over(earlier, self._done)
        try:
            self._store.save(live.record())  # found again by it, should this process be killed
            live.on_stop(self._cancel.cancel)
            with self._host.watch_interruption(self._cancel.cancel):
                self._turn.wait(live)
                result = self._train(resume=earlier is not None)
            if self._turn.stop_is_wished:
                live.request_stop()
            if not result.finished and not live.stop_requested:
                raise self._host.interruption()
        except BaseException as error:
            raise self._broken(error) from None
        finally:
            self._host.memory_given_back()
        if result.best is not None:
            live.best_is(result.best_step)
        if result.finished:
            self._end("finished", self._ending(result))
        else:
            self._end(
                "stopped", f"Stopped and kept at step {result.steps}; queued again, it goes on."
            )
        return Learned(read_token(result.token), live.losses, result.steps, result.finished)

    def _earlier(self) -> Record | None:
        """What is gone on from: this training as it was left, else a shorter one of its kind, which
        stays as it is."""
        store, key = self._store, self._live.key
        found = store.unfinished(key)
        if found is None and (shorter := longest(store, self._training)) is not None:
            copy_kept(store, shorter.key, key)
            log.info("ZOODiP: going on from step %d of an earlier training", shorter.step)
            found = store.used(shorter)
        return found

    def _train(self, resume: bool) -> Any:
        training, live = self._training, self._live
        # First: it names weights that cannot be trained on.
        needed = graph().memory(training.weights, training.settings)
        expected = None
        if training.expected is not None:
            live.stage("asking the wired model for the self-check")
            expected = training.expected()
        self._host.free_memory(needed)
        hooks = graph().Hooks(
            on_stage=self._stage,
            on_step=self._step,
            on_event=self._event,
            on_preview=self._preview,
            preview_share=training.preview_percent / 100 if training.preview else 0.0,
        )
        with training.parking():
            return graph().train(
                training.weights,
                training.pictures,
                training.word,
                training.initialiser,
                self._store.token_path(live.key),
                empty_text=training.empty_text,
                alphas_cumprod=training.alphas_cumprod,
                expected=expected,
                compute_choice=training.compute_choice,
                resume=resume,
                overwrite=True,
                hooks=hooks,
                cancel=self._cancel,
                settings=training.settings,
            )

    def _stage(self, text: str) -> None:
        self._live.stage(text)
        self._turn.stage(text)

    def _step(self, step: int, steps: int, loss: float, smooth: float) -> None:
        self._done = step
        self._live.step(step, steps, loss, smooth)
        self._turn.step(step, steps, loss, smooth)
        now = time.monotonic()
        if now - self._bar_moved >= _BAR_SECONDS or step == steps:
            self._bar_moved = now
            self._bar(step)
        if now - self._saved >= _SAVE_SECONDS:
            self._saved = now
            self._keep_record()

    def _event(self, event: Mapping[str, Any]) -> None:
        if event["event"] == "start":
            self._turn.start(event["step"], event["steps"])
            run = event["run"]
            self._live.computes(run["settings"]["compute"], run.get("compute_choice"))
        elif event["event"] == "forecast":
            self._forecast(event["seconds_a_step"], event["seconds_left"])
        elif event["event"] == "step":
            self._live.passes(event["forward_passes"] + event["backward_passes"])
        elif event["event"] == "validation":
            self._live.validated(event["step"], event["loss"], event["best"])

    def _forecast(self, seconds_a_step: float, seconds_left: float) -> None:
        self._live.forecast(seconds_a_step, seconds_left)
        left = self._training.steps - self._done
        log.info(
            "ZOODiP: '%s': %d steps at %.2g s: about %s",
            *(self._training.word, left, seconds_a_step, _duration(seconds_left)),
        )

    def _ending(self, result: Any) -> str:
        """What is to be said of a finished run."""
        said = []
        if result.steps < self._training.steps:
            said.append(f"Ended early at step {result.steps}: validation found nothing better.")
        if result.word_step != result.steps:
            said.append(
                f"The word that comes out is that of step {result.word_step}, which had the lowest "
                "validation loss."
            )
        elif result.best is not None and result.best_step < result.steps:
            said.append(
                f"The word of step {result.best_step} had the lowest validation loss; it is kept "
                f"in {result.best}."
            )
        return " ".join(said)

    def _preview(self, step: int, latents: torch.Tensor) -> None:
        assert self._training.preview is not None  # no share of the time was given otherwise
        drawn = self._training.preview(latents)
        if drawn is not None:
            self._drawn = drawn
            self._live.preview(step, drawn)
            self._turn.preview(step, drawn)
            self._bar_moved = time.monotonic()
            self._bar(step, drawn)

    def _end(self, state: str, message: str = "") -> None:
        # Kept first: who waits for the end may be about to end the process.
        self._keep_record(state=state, message=message)
        self._turn.end(state, message, self._word_file(state))
        self._live.end(state, message)
        self._host.rest_if_ending()

    def _word_file(self, state: str) -> str:
        """The token to hand out by the API: that of a run which the user did not give up."""
        path = self._store.token_path(self._live.key)
        return str(path) if state in ("finished", "stopped") and path.is_file() else ""

    def _keep_record(self, **changed: str) -> None:
        live = self._live
        try:
            self._store.save(replace(live.record(), **changed), self._drawn)
            # Again: the whole folder may have been deleted meanwhile.
            self._store.set_node_run(live.workflow, live.node, live.key)
        except StoreError as error:  # the token is on disk: only the curve and the reuse are lost
            log.warning("%s", error)

    def _broken(self, error: BaseException) -> BaseException:
        """Tells the page, and what to raise."""
        interruption = self._host.interruption()
        interrupted = isinstance(error, (type(interruption), zoodip().Cancelled))
        kept = self._store.state_path(self._live.key)
        if not interrupted:
            self._end("failed", str(error))
        elif kept.is_file():
            where = self._store.token_path(self._live.key)
            self._end(
                "interrupted",
                f"Interrupted; the word as of step {self._done} is kept in {where}; queued again, "
                "it goes on.",
            )
        else:
            self._end("interrupted", "Interrupted before the first step; nothing was learned.")
        return interruption if isinstance(error, zoodip().Cancelled) else error
