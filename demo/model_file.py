"""The demo model's file: packed in the repository, unpacked once. Needs nothing but Python."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
PACKED = FOLDER / "model" / "zoodip-demo.safetensors.xz"
MODEL = FOLDER / "model" / "zoodip-demo.safetensors"


class CannotUnpack(Exception):
    """The packed file is not what was committed, or this Python cannot read it."""


def unpack() -> Path:
    """The checkpoint's path; written where it is missing or older than the packed file.

    Raises OSError (a full disk, no right to write) and CannotUnpack, leaving nothing half-written.
    """
    if MODEL.exists() and MODEL.stat().st_mtime >= PACKED.stat().st_mtime:
        return MODEL
    try:
        import lzma  # some Pythons are built without it, and can do all else
    except ImportError as error:
        raise CannotUnpack(
            f"this Python has no lzma; unpack it with: xz --decompress --keep {PACKED}"
        ) from error
    staging = MODEL.with_name(f"{MODEL.name}.{os.getpid()}.partial")
    try:
        with lzma.open(PACKED) as packed, staging.open("wb") as unpacked:
            shutil.copyfileobj(packed, unpacked, 1 << 20)
        os.replace(staging, MODEL)
    except (lzma.LZMAError, EOFError) as error:
        raise CannotUnpack(
            f"{PACKED} is damaged ({error}); get it anew: git checkout -- {PACKED.parent}"
        ) from error
    finally:
        staging.unlink(missing_ok=True)
    return MODEL
