"""A node's description: the page's texts, in the words that this ComfyUI knows."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from comfy_api.latest import io

_LOCALE = Path(__file__).resolve().parents[1] / "locales" / "en" / "nodeDefs.json"
_TEXTS = json.loads(_LOCALE.read_text(encoding="utf-8"))

# What people look for who do not know how the nodes are called.
_LEARN = ["textual inversion", "embedding", "dreambooth", "train", "training", "learn word"]
_LEARN += ["learn", "fine-tune", "personalization", "subject"]
_WORD = ["embedding", "learned word"]
_ALIASES = {
    "PersonalizeZO": _LEARN,
    "PersonalizeFromCheckpointZO": _LEARN,
    "AddSubjectZO": [*_LEARN, "several subjects", "two words"],
    "AddWordZO": [*_LEARN, "several words", "two words"],
    "TrainingOptionsZO": ["train", "textual inversion settings", "learning rate"]
    + ["hyperparameters"],
    "LoadTrainingImagesZO": ["train", "textual inversion", "dreambooth", "dataset", "image folder"],
    "CaptionsZO": ["textual inversion", "caption templates", "train"],
    "ApplyTokenZO": ["textual inversion", "apply embedding", *_WORD],
    "SaveTokenZO": ["textual inversion", "save embedding", *_WORD],
    "LoadTokenZO": ["textual inversion", "load embedding", *_WORD],
    "TokenInfoZO": ["textual inversion", "embedding info", *_WORD],
    "LoadDemoModelZO": ["textual inversion", "test model", "tiny model"],
}

# What newer hosts take and older ones do not know; the nodes work without.
_NEWER = {"search_aliases", "has_intermediate_output"}
_KNOWN = {field.name for field in fields(io.Schema)}


def schema(
    node_id: str, inputs: list[io.Input], outputs: list[io.Output], **more: Any
) -> io.Schema:
    """io.Schema of a node, without what this host has no word for. Names and tooltips are the
    locale's; an input has a tooltip of its own where the locale has to put it otherwise: "{}" means
    something to the page."""
    texts = _TEXTS[node_id]
    for each in inputs:
        each.tooltip = each.tooltip or texts["inputs"][each.id]["tooltip"]
    for place, output in enumerate(outputs):
        said = texts["outputs"][str(place)]
        output.display_name, output.tooltip = said["name"], said["tooltip"]
    more["search_aliases"] = _ALIASES[node_id]
    return io.Schema(
        node_id=node_id,
        display_name=texts["display_name"],
        category="ZOODiP",
        description=texts["description"],
        inputs=inputs,
        outputs=outputs,
        **{name: value for name, value in more.items() if name not in _NEWER - _KNOWN},
    )
