"""Which run a node of a workflow showed last, in one small JSON file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from .run_record import is_key
from .store_files import read_json, write_atomically

_MAX_NODES = 500
_MAX_NAME = 200  # characters kept of a node's or a workflow's name


class NodeRuns:
    """(workflow, node) -> key of a run; beyond some hundred the longest unchanged is forgotten.

    A damaged file counts as empty. Of two processes that write in the same moment the later wins.
    """

    def __init__(self, path: Path):
        self._path = path

    def get(self, workflow: str, node: str) -> str | None:
        """The key, None when there is none."""
        name = _name(workflow, node)
        return next((entry[2] for entry in self._read() if entry[:2] == name), None)

    def set(self, workflow: str, node: str, key: str) -> None:
        """Raises OSError when it cannot be written."""
        name = _name(workflow, node)
        others = [entry for entry in self._read() if entry[:2] != name]
        self._write([*others, [*name, key]][-_MAX_NODES:])

    def keep(self, wanted: Callable[[str], bool]) -> None:
        """Forgets the runs that are not wanted. Raises OSError when it cannot be written."""
        entries = self._read()
        kept = [entry for entry in entries if wanted(entry[2])]
        if len(kept) < len(entries):
            self._write(kept)

    def _read(self) -> list[list[str]]:
        """[workflow, node, key] of each, the longest unchanged first."""
        try:
            return [
                entry
                for entry in read_json(self._path)["nodes"]
                if len(entry) == 3 and all(isinstance(e, str) for e in entry) and is_key(entry[2])
            ]
        except (OSError, ValueError, TypeError, KeyError):
            return []

    def _write(self, entries: list[list[str]]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self._path, json.dumps({"nodes": entries}).encode())


def _name(workflow: str, node: str) -> list[str]:
    return [workflow[:_MAX_NAME], node[:_MAX_NAME]]
