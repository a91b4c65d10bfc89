"""The demo models' files: packed in the repository, unpacked once. Needs nothing but Python."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "model"


class CannotUnpack(Exception):
    """The packed file is not what was committed, or this Python cannot read it."""


@dataclass(frozen=True)
class ModelFile:
    """A checkpoint, `path`, and what it is packed as."""

    path: Path

    @property
    def packed(self) -> Path:
        return self.path.with_name(self.path.name + ".xz")

    def unpack(self) -> Path:
        """The checkpoint's path; written where it is missing or older than the packed file.

        Raises OSError (a full disk, no right to write) and CannotUnpack, leaving nothing
        half-written.
        """
        if self.path.exists() and self.path.stat().st_mtime >= self.packed.stat().st_mtime:
            return self.path
        try:
            import lzma  # some Pythons are built without it, and can do all else
        except ImportError as error:
            raise CannotUnpack(
                f"this Python has no lzma; unpack it with: xz --decompress --keep {self.packed}"
            ) from error
        staging = self.path.with_name(f"{self.path.name}.{os.getpid()}.partial")
        try:
            with lzma.open(self.packed) as packed, staging.open("wb") as unpacked:
                shutil.copyfileobj(packed, unpacked, 1 << 20)
            os.replace(staging, self.path)
        except (lzma.LZMAError, EOFError) as error:
            raise CannotUnpack(
                f"{self.packed} is damaged ({error}); get it anew: "
                f"git checkout -- {self.packed.parent}"
            ) from error
        finally:
            staging.unlink(missing_ok=True)
        return self.path


FIRST = "sd1"  # of FILES: what is taken where none is named
FILES = {
    FIRST: ModelFile(FOLDER / "zoodip-demo.safetensors"),
    "xl": ModelFile(FOLDER / "zoodip-demo-xl.safetensors"),
}


def unpack(model: str = FIRST) -> Path:
    """The checkpoint of one of FILES; see ModelFile.unpack."""
    return FILES[model].unpack()
