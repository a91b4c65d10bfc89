"""How files are touched: atomic writing, bounded reading, a lock between processes."""

from __future__ import annotations

import json
import os
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
    import msvcrt

PARTIAL = ".partial"
"""How the name of a file that is still being written ends."""

_MAX_JSON = 1 << 20  # bytes; a longer file is not ours


def partial_name(name: str) -> str:
    """What a file is called while it is written."""
    return f"{name}{uuid.uuid4().hex}{PARTIAL}"


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


class FileLock:
    """A lock that one process at a time holds, given up by the system when that process dies.

    On a file system without locks it is held by whoever asks.
    """

    def __init__(self, path: Path):
        self._path = path
        self._handle: int | None = None

    def acquire(self) -> bool:
        """Takes the lock if it is free; does not wait. Raises OSError when it cannot be made."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            if not _lock(handle):
                os.close(handle)
                return False
            # Another may have removed the file between opening and locking: then this is nobody's.
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(handle), os.stat(self._path)):
                    self._handle = handle
                    return True
            os.close(handle)

    def release(self) -> None:
        """Gives the lock up and removes its file."""
        handle, self._handle = self._handle, None
        if handle is None:
            return
        if os.name == "nt":  # an open file cannot be removed there
            os.close(handle)
            with suppress(OSError):
                self._path.unlink()
        else:
            with suppress(OSError):
                self._path.unlink()
            os.close(handle)


def _lock(handle: int) -> bool:
    """Locks an open file; False when another holds it."""
    try:
        if fcntl is None:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return True  # no locks on this file system
    return True
