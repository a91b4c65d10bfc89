"""The engine's settings as it declares them: settings.json is what `zoodip.settings()` gives, kept
beside this so that nodes are there without the native module."""

from __future__ import annotations

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
    # What the wires, or the checkpoint node's widget, say of the model.
    "prediction",
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


@cache
def declared() -> dict[str, dict[str, Any]]:
    """All settings by name, in the order declared."""
    return {field["name"]: field for field in json.loads(FILE.read_text(encoding="utf-8"))}


# Younger than the node: a saved graph knows widgets by their places, so they come behind.
YOUNGER = ("take",)


def options() -> list[dict[str, Any]]:
    """Those of Training Options (ZO), group by group as declared."""
    elsewhere = {*ELSEWHERE, *YOUNGER}
    fields = [field for name, field in declared().items() if name not in elsewhere]
    return [*fields, PREVIEW_PERCENT, *(declared()[name] for name in YOUNGER)]


def deciding(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the values that decide what is learned; the engine refuses what is no setting."""
    free = {name for name, field in declared().items() if not field.get("decides", True)}
    return {name: value for name, value in values.items() if name not in free}


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
