"""A node's description, in the words that this ComfyUI knows."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from comfy_api.latest import io

# What people look for who do not know how the nodes are called.
_LEARN = ["textual inversion", "embedding", "dreambooth", "train", "training", "learn word"]
_LEARN += ["learn", "fine-tune", "personalization", "subject"]
SEARCH_ALIASES = {
    "PersonalizeZO": _LEARN,
    "PersonalizeFromCheckpointZO": _LEARN,
    "TrainingOptionsZO": [
        "train",
        "textual inversion settings",
        "learning rate",
        "hyperparameters",
    ],
    "LoadTrainingImagesZO": ["train", "textual inversion", "dreambooth", "dataset", "image folder"],
    "CaptionsZO": ["textual inversion", "caption templates", "train"],
    "ApplyTokenZO": ["textual inversion", "apply embedding", "embedding", "learned word"],
    "SaveTokenZO": ["textual inversion", "save embedding", "embedding", "learned word"],
    "LoadTokenZO": ["textual inversion", "load embedding", "embedding", "learned word"],
    "TokenInfoZO": ["textual inversion", "embedding info", "embedding", "learned word"],
    "LoadDemoModelZO": ["textual inversion", "test model", "tiny model"],
}

# What newer hosts take and older ones do not know; the nodes work without.
_NEWER = {"search_aliases", "has_intermediate_output"}
_KNOWN = {field.name for field in fields(io.Schema)}


def schema(**described: Any) -> io.Schema:
    """io.Schema with the node's search aliases, without what this host has no word for."""
    described["search_aliases"] = SEARCH_ALIASES[described["node_id"]]
    return io.Schema(
        **{name: value for name, value in described.items() if name not in _NEWER - _KNOWN}
    )
