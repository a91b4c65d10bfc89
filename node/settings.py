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
ELSEWHERE = {"steps", "seed", "weights", "compute"}  # the Personalize nodes' own widgets
# What the wires, or the checkpoint node's widgets and its file, say of the model.
ELSEWHERE |= {"prediction", "zero_snr", "beta_schedule", "beta_start", "beta_end", "clip_skip"}
# Captions come as texts, from a widget or from Captions (ZO), which has the templates.
ELSEWHERE |= {"caption", "templates"}
# Where ComfyUI computes; and in a graph previews are bounded by their time: PREVIEW_PERCENT.
ELSEWHERE |= {"device", "preview_every"}

# Those of Training Options (ZO) that a page shows at once; the others wait under "advanced".
AT_ONCE = {"method", "n", "learning_rate", "subspace", "vectors", "resolution", "flip", "threads"}
AT_ONCE |= {"preview_percent"}

# Those whose 0 stands for a value that is found, as a label says where there is room.
AUTOMATIC = {"mu", "chunk", "learning_rate", "adam_eps", "tau", "vectors", "resolution", "threads"}
AUTOMATIC |= {"memory_limit"}

# Those that only some methods look at. They follow the method, so that a graph's list of values is
# the same whether a host folds them into the method or not.
_ESTIMATES = ("rge", "spsa", "one_point", "auto")
OF_METHODS = {"slope": ("rge", "auto"), "n": _ESTIMATES, "mu": _ESTIMATES}
OF_METHODS |= dict.fromkeys(("directions", "direction_rank", "related_words"), _ESTIMATES)

# Younger than the node: a saved graph knows widgets by their places, so they come behind.
YOUNGER = ("take", "mu_scale", "picture_sizes", "adam_eps")


@cache
def declared() -> dict[str, dict[str, Any]]:
    """All settings by name, in the order declared."""
    return {field["name"]: field for field in json.loads(FILE.read_text(encoding="utf-8"))}


def options() -> dict[str, dict[str, Any]]:
    """Those of Training Options (ZO) by name, group by group as declared."""
    elsewhere = {*ELSEWHERE, *YOUNGER}
    found = {name: field for name, field in declared().items() if name not in elsewhere}
    found["preview_percent"] = PREVIEW_PERCENT
    return found | {name: declared()[name] for name in YOUNGER}


def help_text(field: dict[str, Any]) -> str:
    """Tooltip: what it is, its unit, its equation."""
    unit = field.get("unit") and f"In {field['unit']}."
    return " ".join(filter(None, (field["help"], unit, field.get("equation"))))


def chosen(values: dict[str, Any]) -> dict[str, Any]:
    """Those that differ from their defaults."""
    known = options()
    return {name: value for name, value in values.items() if value != known[name]["default"]}


def check(values: Mapping[str, Any]) -> None:
    """Raises ValueError for a value that its setting does not take, which not all hosts check."""
    for name, field in options().items():
        if name not in values:
            continue
        value, known, low = values[name], field.get("choices"), field.get("minimum")
        if known and value not in known:
            raise ValueError(f"{name}: needs one of {', '.join(known)}; got '{value}'")
        if isinstance(value, int | float) and low is not None:
            high = field["maximum"]
            if not low <= value <= high:
                raise ValueError(f"{name}: needs {low:g} to {high:g}; got {value!r}")


def check_names(inputs: Mapping[str, Any]) -> None:
    """Raises ValueError for an input of a prompt that is no option: hosts pass over it."""
    known = options()
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
