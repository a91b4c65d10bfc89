"""Going on to more steps: the longest kept training that differs in its number of steps alone."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import safetensors

from .run_record import Record
from .store import Store, StoreError

if TYPE_CHECKING:
    from .training import Training


def longest(store: Store, training: Training) -> Record | None:
    """The kept training with the most steps that a training of these steps goes on from; its `step`
    is where. None where there is none: the kept ones are of more steps, or of another version.

    training: resolved.
    """
    found = None
    for record in store.of_lineage(training.lineage):
        step = kept_step(store, record.key)
        if record.key == training.key or step is None or not _leads_to(step, training):
            continue
        if found is None or step > found[0]:
            found = (step, record)
    return None if found is None else found[1]


def copy_kept(store: Store, earlier: str, key: str) -> None:
    """Puts what one training kept into the folder of another; the state comes last, as without it
    the rest is nothing. Raises StoreError; then nothing is left of it."""
    source, target = store.token_path(earlier), store.token_path(key)
    best = "token.best.safetensors"
    pairs = [
        (source.with_name(best), target.with_name(best)),
        (source, target),
        (store.state_path(earlier), store.state_path(key)),
    ]
    try:
        for old, new in pairs:
            if old.name != best or old.is_file():
                shutil.copyfile(old, new)
    except OSError as error:
        for _, new in pairs:
            with suppress(OSError):
                new.unlink()
        raise StoreError(
            f"Could not copy an earlier training into {target.parent}: {error.strerror or error}. "
            "Free disk space or make the folder writable, and try again."
        ) from error


def kept_step(store: Store, key: str) -> int | None:
    """The step that a run's kept state is at; a process that was killed had no time to record its
    last. None without a state that can be read."""
    try:
        with safetensors.safe_open(Path(store.state_path(key)), framework="np") as state:
            return int((state.metadata() or {})["step"])
    except Exception:  # the parser's errors are of many types; such a state is of no use
        return None


def _leads_to(step: int, training: Training) -> bool:
    """Whether a training of these steps would have been the same up to this one: a word that is the
    mean over the last steps has none of them behind it then. The engine refuses others."""
    return step <= training.steps - int(training.settings.get("average_steps", 0))
