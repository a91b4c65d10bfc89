"""One training as it is kept on disk: its fields and their checking."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .curve import Point, Validation

RUNNING_STATES = ("preparing", "training")
ENDED_STATES = ("finished", "stopped", "interrupted", "failed", "reused")

_KEY = re.compile(r"[0-9a-f]{64}")
_MAX_TEXT = 2000  # characters
_MAX_NUMBER = 2**53  # beyond it a page cannot count


@dataclass(frozen=True)
class Record:
    """One training as it is kept."""

    key: str
    """64 hexadecimal digits that stand for all inputs."""
    word: str
    state: str
    """One of RUNNING_STATES (the process that trained it may have died) or ENDED_STATES."""
    step: int
    """Steps done."""
    steps: int
    """Steps asked for."""
    message: str = ""
    curve: Sequence[Point] = field(default=(), repr=False)
    """(step, loss, smoothed loss) of every step; empty when the file of it was lost."""
    validations: Sequence[Validation] = field(default=(), repr=False)
    """(step, loss of the fixed samples), as far as there were any."""
    node: str = ""
    workflow: str = ""
    prompt: str = ""
    preview_percent: float = 0.0
    preview_step: int | None = None
    """Step of the kept preview, None when there is none."""
    passes: int | None = None
    """Of the UNet, made by the steps; None when it is not known."""
    best_step: int | None = None
    """Step of the word with the lowest validation loss; None without validation."""
    compute: str | None = None
    """What its products are made in ("int8"); None while it is not known."""
    compute_choice: str | None = None
    """Why, in a sentence, where the engine chose; None where it did not."""
    lineage: str | None = None
    """64 hexadecimal digits, those of the trainings that it may be gone on to; None of one that an
    older version kept."""
    created: float = 0.0
    """Seconds since 1970; 0 lets the store fill it in."""
    used: float = 0.0
    """Seconds since 1970, filled in by the store."""

    @property
    def losses(self) -> list[float]:
        """The losses of all steps in order, without those that were not finite."""
        return [loss for _, loss, _ in self.curve if loss is not None]


# What run.json holds: field -> accepted types.
_FIELDS: dict[str, tuple[type, ...]] = {
    "key": (str,),
    "word": (str,),
    "state": (str,),
    "step": (int,),
    "steps": (int,),
    "message": (str,),
    "node": (str,),
    "workflow": (str,),
    "prompt": (str,),
    "preview_percent": (int, float),
    "preview_step": (int, type(None)),
    "passes": (int, type(None)),
    "best_step": (int, type(None)),
    "compute": (str, type(None)),
    "compute_choice": (str, type(None)),
    "lineage": (str, type(None)),
    "created": (int, float),
}


def is_key(key: object) -> bool:
    """Whether this is a run's key: 64 hexadecimal digits in small letters."""
    return isinstance(key, str) and _KEY.fullmatch(key) is not None


def pack_record(record: Record) -> dict[str, Any]:
    """The fields of a run.json; texts are cut to a length that nobody reads beyond.

    Raises ValueError for a field that cannot be kept.
    """
    values = {name: getattr(record, name) for name in _FIELDS}
    for name in ("message", "node", "workflow", "prompt", "compute", "compute_choice"):
        if values[name] is not None:
            values[name] = values[name][:_MAX_TEXT]
    return unpack_record(record.key, values)


def unpack_record(key: str, values: Any) -> dict[str, Any]:
    """The checked fields of a run.json. Raises ValueError."""
    if not isinstance(values, dict):
        raise ValueError("run.json: needs an object")
    for name, types in _FIELDS.items():
        value = values.get(name)
        number = isinstance(value, int | float)
        if (
            not isinstance(value, types)
            or isinstance(value, bool)
            or (number and not 0 <= value <= _MAX_NUMBER)
        ):
            raise ValueError(f"run.json: {name} cannot be {value!r:.80}")
    if not is_key(key) or values["key"] != key:
        raise ValueError("run.json: belongs to another run")
    if values["state"] not in RUNNING_STATES + ENDED_STATES:
        raise ValueError(f"run.json: state cannot be {values['state']!r:.80}")
    return {name: values.get(name) for name in _FIELDS}
