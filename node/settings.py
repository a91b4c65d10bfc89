"""The engine's settings as it declares them: settings.json is what `zoodip.settings()` gives, kept
beside this so that nodes are there without the native module."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_suffix(".json")

# What previews may take of a run's time; not a setting of the engine, which only draws them.
PREVIEW_PERCENT = {
    "name": "preview_percent",
    "type": "number",
    "default": 5.0,
    "minimum": 0.0,
    "maximum": 10.0,
    "unit": "percent",
    "help": "Share of the training's time that previews may take. 0 draws none.",
}

# How a Personalize node's precision is told to the engine.
PRECISIONS = {
    "int8": {},
    "int8-bf16": {"compute": "bf16"},
    "dense": {"weights": "dense"},
    "dense-bf16": {"weights": "dense", "compute": "bf16"},
}

# Not on Training Options (ZO), because they are told otherwise.
ELSEWHERE = {
    # The Personalize nodes' own widgets.
    "steps",
    "seed",
    "weights",
    "compute",
    # What the wires, or the checkpoint node's widgets and its file, say of the model.
    "prediction",
    "zero_snr",
    "beta_schedule",
    "beta_start",
    "beta_end",
    "clip_skip",
    # Where ComfyUI computes.
    "device",
    # Captions come as texts, from a widget or from Captions (ZO), which has the templates.
    "caption",
    "templates",
    # In a graph previews are bounded by the time that they take: PREVIEW_PERCENT.
    "preview_every",
}

# Those of Training Options (ZO) that a page shows at once; the others wait under "advanced".
AT_ONCE = {
    "method",
    "n",
    "learning_rate",
    "subspace",
    "vectors",
    "resolution",
    "flip",
    "threads",
    "preview_percent",
}

# Those whose 0 stands for a value that is found, as a label says where there is room.
AUTOMATIC = {
    "mu",
    "chunk",
    "learning_rate",
    "tau",
    "vectors",
    "resolution",
    "threads",
    "memory_limit",
}

# Those that only some methods look at. They follow the method, so that a graph's list of values is
# the same whether a host folds them into the method or not.
_ESTIMATES = ("rge", "spsa", "one_point", "auto")
OF_METHODS = {
    "slope": ("rge", "auto"),
    "n": _ESTIMATES,
    "mu": _ESTIMATES,
    "directions": _ESTIMATES,
    "direction_rank": _ESTIMATES,
    "related_words": _ESTIMATES,
}


@cache
def declared() -> dict[str, dict[str, Any]]:
    """All settings by name, in the order declared."""
    return {field["name"]: field for field in json.loads(FILE.read_text(encoding="utf-8"))}


# Younger than the node: a saved graph knows widgets by their places, so they come behind.
YOUNGER = ("take", "mu_scale", "picture_sizes")


def options() -> list[dict[str, Any]]:
    """Those of Training Options (ZO), group by group as declared."""
    elsewhere = {*ELSEWHERE, *YOUNGER}
    fields = [field for name, field in declared().items() if name not in elsewhere]
    younger = [declared()[name] for name in YOUNGER]
    return [*fields, PREVIEW_PERCENT, *younger]


def label(name: str) -> str:
    """What stands on the node."""
    return f"{name} (0 = auto)" if name in AUTOMATIC else name


def resolution_problem(side: int) -> str | None:
    """What is wrong with a side in pixels; None when it is one that every family takes, of which
    some halve three times what the autoencoder made eight times smaller."""
    largest = int(declared()["resolution"]["maximum"])
    if 0 <= side <= largest and side % 64 == 0:
        return None
    return (
        f"resolution: needs a multiple of 64 up to {largest}, or 0 for what the model was made "
        f"for; got {side}"
    )


def help_text(field: dict[str, Any]) -> str:
    """Tooltip: what it is, its unit, its equation."""
    text = field["help"]
    if field.get("unit"):
        text += f" In {field['unit']}."
    if field.get("equation"):
        text += f" {field['equation']}"
    return text


def chosen(values: dict[str, Any]) -> dict[str, Any]:
    """Those that differ from their defaults."""
    defaults = {field["name"]: field["default"] for field in options()}
    return {name: value for name, value in values.items() if value != defaults[name]}


def check(values: Mapping[str, Any]) -> None:
    """Raises ValueError for a value that its setting does not take, which not all hosts check."""
    for field in options():
        name, known = field["name"], field.get("choices")
        if name not in values:
            continue
        if known and values[name] not in known:
            raise ValueError(f"{name}: needs one of {', '.join(known)}; got '{values[name]}'")
        low, high = field.get("minimum"), field.get("maximum")
        number = isinstance(values[name], int | float)
        if number and low is not None and not low <= values[name] <= high:
            raise ValueError(f"{name}: needs {low:g} to {high:g}; got {values[name]!r}")


def check_names(inputs: Mapping[str, Any]) -> None:
    """Raises ValueError for an input of a prompt that is no option: hosts pass over it."""
    known = [field["name"] for field in options()]
    for name in inputs:
        plain = name.removeprefix("method.")
        if plain not in known:
            near = difflib.get_close_matches(plain, known, 1)
            meant = f"; did you mean '{near[0]}'?" if near else ""
            raise ValueError(f"there is no option '{plain}'{meant}")


def spelled(inputs: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """What is given, and those settings among a prompt's inputs that the host left out, because
    it spells them otherwise: those of a method under it, `method.n`, or beside it, `n`.

    Raises ValueError for one that comes over a wire, which the host has not followed.
    """
    values = dict(given)
    for name in OF_METHODS:
        for spelling in (f"method.{name}", name):
            if name in values or spelling not in inputs:
                continue
            values[name] = inputs[spelling]
            if isinstance(values[name], list):
                raise ValueError(
                    f"{name}: comes over a wire that this ComfyUI does not follow, as the graph "
                    "is from another version of it; connect it again"
                )
    return values
