"""That the start-up check knows this host, and names what another one has changed."""

import logging
from contextlib import contextmanager

import comfy.lora
import comfy.model_management
import comfy.model_patcher
import comfy.sd1_clip
import folder_paths
from comfyui_zoodip.node import host_calls


@contextmanager
def replaced(owner, name, made):
    before = getattr(owner, name)
    setattr(owner, name, made(before))
    try:
        yield
    finally:
        setattr(owner, name, before)


@contextmanager
def without(owner, name):
    before = getattr(owner, name)
    delattr(owner, name)
    try:
        yield
    finally:
        setattr(owner, name, before)


def warnings() -> list[str]:
    """The lines that the check writes into the log."""
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logger = logging.getLogger("zoodip")
    logger.addHandler(handler)
    try:
        host_calls.warn_of_changes()
    finally:
        logger.removeHandler(handler)
    return lines


def check_nothing_is_said_of_this_host():
    said = warnings()
    assert said == [], said


def check_every_change_is_named_in_one_line():
    tokenizer = comfy.sd1_clip.SDTokenizer
    changes = {
        "comfy.lora.calculate_weight is gone": without(comfy.lora, "calculate_weight"),
        "comfy.model_management.free_memory takes other arguments": replaced(
            comfy.model_management, "free_memory", lambda before: lambda device: None
        ),
        "folder_paths.filename_list_cache.pop is gone": replaced(
            folder_paths, "filename_list_cache", lambda before: None
        ),
        "SDTokenizer._try_get_embedding answers in another form": replaced(
            tokenizer, "_try_get_embedding", lambda before: lambda self, name: None
        ),
        "a word's vectors do not take its place in a prompt": replaced(
            tokenizer,
            "tokenize_with_weights",
            lambda before: (
                lambda self, text, *rest, **named: before(
                    self, text.replace("embedding:", "vectors:"), *rest, **named
                )
            ),
        ),
        "get_key_patches answers in another form": replaced(
            comfy.model_patcher.ModelPatcher, "get_key_patches", lambda before: lambda *_: {}
        ),
    }
    for said, change in changes.items():
        with change:
            (line,) = warnings()
        assert said in line and "\n" not in line, line
        assert "Update ComfyUI-ZOODiP" in line
