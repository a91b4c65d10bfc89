"""How files are touched: atomic writing, bounded reading."""

from __future__ import annotations

import json
import os
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

_MAX_JSON = 1 << 20  # bytes; a longer file is not ours


def partial_name(name: str) -> str:
    """What a file is called while it is written."""
    return f"{name}{uuid.uuid4().hex}.partial"


def write_atomically(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Writes a file whole or not at all. Raises OSError; an earlier file is then as it was.

    mode: of a new file, as far as the process's umask allows.
    """
    name = path.with_name(partial_name(path.name))
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    handle = os.open(name, flags, mode)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise


def read_json(path: Path) -> Any:
    """A small JSON file. Raises OSError when it cannot be read, ValueError when it is no JSON."""
    with open(path, "rb") as file:
        data = file.read(_MAX_JSON + 1)
    if len(data) > _MAX_JSON:
        raise ValueError("too long")
    try:
        return json.loads(data)
    except RecursionError as error:
        raise ValueError("too deep") from error
