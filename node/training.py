"""What both Personalize nodes ask for: the engine finds it learned, or learns it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from .native import graph, zoodip

Initialiser = tuple[str, list[int] | dict[str, torch.Tensor]]


@dataclass(frozen=True)
class Subject:
    """One word, and what it is learned from."""

    pictures: list[Any]
    """zoodip.graph.Picture."""
    word: str
    initialiser: Initialiser
    """As the user wrote it; token ids, or by text encoder vectors float32 [count, width]."""
    also: tuple[tuple[str, Initialiser], ...] = ()
    """Further words in the captions."""


@dataclass(frozen=True)
class Training:
    """All that decides what is learned, and what to show meanwhile."""

    weights: Any
    """zoodip.graph.Weights, or a checkpoint's path."""
    digest: str
    """Stands for the weights with all that is patched into them."""
    subjects: list[Subject]
    """What is learned; the first is the node's own."""
    empty_text: Any
    settings: dict[str, bool | int | float | str]
    """What was chosen."""
    alphas_cumprod: list[float] | None = None
    expected: Callable[[], Any] | None = None
    """Makes zoodip.graph.Expected; asked for only when the engine is to run."""
    preview_percent: float = 0.0
    preview: Callable[[torch.Tensor], bytes | None] | None = None
    """Latents -> JPEG."""
    parking: Callable[[], AbstractContextManager] = nullcontext
    """Makes the host's own model small while the engine trains."""


def learn(jobs: list[Any], training: Training, node: str, host: Any) -> list[Any]:
    """zoodip.graph.Learned of each subject, from what is kept where it was learned before.

    jobs: of zoodip.service.Service.begin, one a subject. node: where ComfyUI shows progress. host:
    node/host.py.

    Raises:
        ComfyUI's interruption when the prompt was interrupted; what was learned is kept.
        zoodip.Error: one sentence.
    """

    def cancel() -> None:
        for job in jobs:
            job.cancel()

    with ExitStack() as parked, host.watch_interruption(cancel):
        engine = _EngineHost(training, node, host, parked)
        try:
            return graph().learn(
                [
                    graph().GraphSubject(
                        job, subject.pictures, subject.word, subject.initialiser, subject.also
                    )
                    for job, subject in zip(jobs, training.subjects, strict=True)
                ],
                training.weights,
                training.digest,
                empty_text=training.empty_text,
                host=engine,
                interruption=type(host.interruption()),
                alphas_cumprod=training.alphas_cumprod,
                settings=training.settings,
            )
        except zoodip().Cancelled:
            raise host.interruption() from None
        finally:
            if engine.trained:
                host.memory_given_back()


class _EngineHost:
    """ComfyUI as the engine asks it: zoodip.graph.GraphHost."""

    def __init__(self, training: Training, node: str, host: Any, parked: ExitStack) -> None:
        self._training, self._node, self._host, self._parked = training, node, host, parked
        self._bar: Callable[..., None] | None = None
        self.preview_share = training.preview_percent / 100 if training.preview else 0.0
        self.trained = False

    def free_memory(self, needed: int) -> None:
        self.trained = True
        self._host.free_memory(needed)

    def expected(self) -> Any:
        return (self._training.expected or graph().Expected)().native()

    def park(self) -> None:
        self._parked.enter_context(self._training.parking())

    def on_step(self, step: int, steps: int) -> None:
        self._bar = self._bar or self._host.progress_bar(steps, self._node)
        self._bar(step)

    def draw(self, step: int, latents: torch.Tensor) -> bytes | None:
        assert self._training.preview is not None  # no share of the time was given otherwise
        drawn = self._training.preview(latents)
        if drawn is not None and self._bar is not None:
            self._bar(step, drawn)
        return drawn
