"""A sound job, as JSON and as the parts of a form, and what is read from its token."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors import safe_open
from safetensors.torch import load
from server import FOLDER, MODEL, QUICK
from wire import part
from zoodip.client import ApiError

WORKS = {"model": MODEL, "images": FOLDER, "word": "sks", "init": "dog", "settings": QUICK}
MIB = 1 << 20


def texts(**change: str) -> list[bytes]:
    """The parts of a form that works, pictures apart."""
    values = {"model": MODEL, "word": "sks", "init": "dog", "settings": json.dumps(QUICK)}
    return [part(f'name="{name}"', text.encode()) for name, text in (values | change).items()]


def picture(content: bytes, name: str = "a.png") -> bytes:
    return part(f'name="pictures"; filename="{name}"', content, "Content-Type: image/png")


def metadata(token: bytes, folder: Path) -> dict[str, str]:
    path = folder / "read.safetensors"
    path.write_bytes(token)
    with safe_open(path, "pt") as file:
        return file.metadata()


def numbers(token: bytes) -> bytes:
    return load(token)["clip_l"].numpy().tobytes()


def refusal(call, *arguments, **more) -> ApiError:
    with pytest.raises(ApiError) as refused:
        call(*arguments, **more)
    assert refused.value.title and refused.value.detail
    return refused.value
