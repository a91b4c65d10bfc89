"""A folder as the nodes load it, with the names that its pictures have."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any


def load_folder(
    nodes: ModuleType, folder: Path, size: int, caption: str
) -> tuple[Any, list[str], list[str]]:
    """nodes: node/pictures.py. Gives the pictures, their captions and their names."""
    read = nodes.read_folder(folder)
    names = [each.name for each in read.pictures for _ in range(each.repeats)]
    return *nodes.load_pictures(read, size, caption), names
