"""What a training leaves to the engine, decided once before its first step."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .going_on import longest
from .native import graph
from .store import Store

if TYPE_CHECKING:
    from .training import Host, Training

log = logging.getLogger("zoodip")

# What method auto chooses between, the better one first.
_CANDIDATES = ("exact", "rge")

_SCHEDULE = {"zero_snr", "beta_schedule", "beta_start", "beta_end"}


def resolved(training: Training, store: Store, host: Host) -> Training:
    """The training with every setting named, so that its key stands for what is really done.

    Method auto takes what was begun under either method before, whatever memory is free now; else
    the engine chooses, once ComfyUI has unloaded what the exact gradient might need.

    Raises zoodip.Error for weights and settings that cannot be trained with.
    """
    if training.settings.get("method") != "auto":
        return _named(training, training.settings)
    for method in _CANDIDATES:
        begun = _named(training, {**training.settings, "method": method})
        if store.finished(begun.key) or store.unfinished(begun.key) or longest(store, begun):
            return begun
    exact = {**training.settings, "method": _CANDIDATES[0]}
    host.free_memory(graph().memory(training.weights, exact))
    chosen = _named(training, training.settings)
    log.info("ZOODiP: method auto takes %s", chosen.settings["method"])
    return chosen


def _named(training: Training, asked: dict[str, Any]) -> Training:
    # The chunk follows the memory of the moment, and another moment must find the same training.
    settings, reason = graph().decide(training.weights, asked, fit=False)
    if training.alphas_cumprod is not None:
        # The wires have the schedule: what the settings would make of their weights does not act.
        settings = {k: v for k, v in settings.items() if k not in _SCHEDULE or k in asked}
    return replace(training, settings=settings, compute_choice=reason or training.compute_choice)
