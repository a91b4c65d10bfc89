"""The trainings kept on disk: finished ones are given back, stopped ones are gone on with.

    ROOT/store.json                       the size limit
    ROOT/nodes.json                       which run a node of a workflow showed last
    ROOT/locks/KEY.lock                   there while a process trains KEY
    ROOT/runs/KEY/run.json                what the run is; its time of change is that of last use
    ROOT/runs/KEY/curve.bin               every step's loss
    ROOT/runs/KEY/validations.bin         the losses of the fixed samples
    ROOT/runs/KEY/preview.jpg             the latest preview
    ROOT/runs/KEY/token.safetensors       written by the engine
    ROOT/runs/KEY/token.best.safetensors  by the engine too: the word of the lowest validation loss
    ROOT/runs/KEY/token.state.safetensors by the engine: what it, or one of more steps, goes on from
    ROOT/runs/KEY/token.state.500.safetensors and others: older states, in case that one is damaged

A run's folder is counted, moved and dropped as a whole, whatever the engine puts into it.

Two processes may share the folder. What vanishes or is damaged counts as absent.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from .curve import pack_curve, pack_validations, unpack_curve, unpack_validations
from .node_runs import NodeRuns
from .run_record import Record, is_key, pack_record, unpack_record
from .store_files import PARTIAL, FileLock, read_json, write_atomically

MIN_LIMIT_MB, MAX_LIMIT_MB = 16, 65536

_STALE_SECONDS = 3600.0  # leftovers younger than this may be another process's, still in use
_DROPPED = ".dropped-"


class StoreError(Exception):
    """One sentence for the user: which folder, what happened, what to do."""


class _Damaged(ValueError):
    """A run's folder that cannot be used."""


class Store:
    """Trainings under one folder, the least recently used dropped beyond a size limit.

    Safe to call from any thread. Methods that look something up never raise for what they find
    on disk; those that write raise StoreError.
    """

    def __init__(
        self, root: Path, limit_mb: int = 256, *, clock: Callable[[], float] = time.time
    ) -> None:
        """root: made when first written to. clock: seconds since 1970."""
        self.root = Path(root)
        self._default_limit = limit_mb
        self._clock = clock
        self._mutex = threading.RLock()
        self._held: dict[str, _Hold] = {}
        self._nodes = NodeRuns(self.root / "nodes.json")

    # Where things are.

    def folder(self, key: str) -> Path:
        """The folder of a run, made if it is not there. Raises ValueError for what is no key."""
        folder = self._folder(key)
        with self._writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def token_path(self, key: str) -> Path:
        """Where the engine writes the token of a run; `hold` and `folder` make its folder."""
        return self._folder(key) / "token.safetensors"

    def state_path(self, key: str) -> Path:
        """Where the engine keeps what a run, or one of more steps, goes on from."""
        return self._folder(key) / "token.state.safetensors"

    # Looking up.

    def record(self, key: str) -> Record | None:
        """What is known of a run, in whatever state. Does not count as use."""
        try:
            return self._load(key) if is_key(key) else None
        except _Damaged:
            return None

    def finished(self, key: str) -> Record | None:
        """A finished training whose token file is there."""
        record = self._usable(key)
        if record is None or record.state != "finished":
            return None
        return self._touch(record)

    def unfinished(self, key: str) -> Record | None:
        """A training that ended early, however it ended, and can be gone on with."""
        record = self._usable(key)
        if record is None or record.state == "finished" or not _is_file(self.state_path(key)):
            return None
        return self._touch(record)

    def of_lineage(self, lineage: str) -> list[Record]:
        """The trainings of a lineage that can be gone on from. Does not count as use."""
        return [
            record
            for key in self._keys()
            if self._lineage(key) == lineage
            and _is_file(self.token_path(key))
            and _is_file(self.state_path(key))
            and (record := self.record(key)) is not None
        ]

    def used(self, record: Record) -> Record:
        """Counts as use of a run that was looked up otherwise."""
        return self._touch(record)

    def preview(self, key: str) -> bytes | None:
        """The kept preview, a JPEG."""
        if not is_key(key):
            return None
        with suppress(OSError):
            return (self._folder(key) / "preview.jpg").read_bytes()
        return None

    # Writing.

    def save(self, record: Record, preview: bytes | None = None) -> None:
        """Keeps a record in place of an earlier one, then drops what is over the limit.

        Save once before training too: a run whose process was killed is found again by it.
        preview: a JPEG drawn at `record.preview_step`; None leaves the kept one.
        Raises StoreError, with what was kept before as it was.
        """
        if not record.created:
            earlier = self.record(record.key)
            record = replace(record, created=earlier.created if earlier else self._clock())
        values = pack_record(record)
        folder = self.folder(record.key)
        with self._writing(folder):
            if preview is not None:
                write_atomically(folder / "preview.jpg", preview)
            write_atomically(folder / "curve.bin", pack_curve(record.curve))
            write_atomically(folder / "validations.bin", pack_validations(record.validations))
            write_atomically(folder / "run.json", json.dumps(values).encode())
        self._touch(record)
        self._trim(keep=record.key)

    @contextmanager
    def hold(self, key: str) -> Iterator[Path]:
        """Keeps a run from being dropped while it is trained; gives its folder.

        Raises StoreError when another process or thread trains it.
        """
        folder = self._folder(key)
        self._take(key)
        try:
            yield self.folder(key)
        finally:
            with suppress(OSError):
                folder.rmdir()  # only if nothing came of it
            self._give_back(key)

    @property
    def limit_mb(self) -> int:
        """The size limit, in units of 2^20 bytes."""
        with suppress(OSError, ValueError, TypeError, KeyError):
            limit = read_json(self.root / "store.json")["limit_mb"]
            if type(limit) is int and MIN_LIMIT_MB <= limit <= MAX_LIMIT_MB:
                return limit
        return self._default_limit

    def set_limit(self, limit_mb: int) -> None:
        """Sets the size limit for good, and drops what is over it.

        Raises ValueError when it is out of range, StoreError when it cannot be written.
        """
        if type(limit_mb) is not int or not MIN_LIMIT_MB <= limit_mb <= MAX_LIMIT_MB:
            raise ValueError(
                f"limit_mb: needs a whole number from {MIN_LIMIT_MB} to {MAX_LIMIT_MB}; "
                f"got {limit_mb!r:.40}."
            )
        with self._writing(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            values = json.dumps({"limit_mb": limit_mb})
            write_atomically(self.root / "store.json", values.encode())
        self._trim()

    def clear(self) -> None:
        """Forgets every run but those being trained."""
        for key in self._keys():
            if key not in self._held:
                self._drop(key)
        self._sweep()
        with self._mutex, self._writing(self.root):
            self._nodes.keep(lambda key: self._folder(key).is_dir())

    def stats(self) -> dict[str, int]:
        """How many runs are kept, the bytes they take, and the limit."""
        folders = [self._folder(key) for key in self._keys()]
        return {
            "runs": sum(_is_file(folder / "run.json") for folder in folders),
            "bytes": sum(map(_size, folders)),
            "limit_mb": self.limit_mb,
        }

    # Which run a node showed last.

    def node_run(self, workflow: str, node: str) -> str | None:
        """The key of the run that a node of a workflow showed last."""
        return self._nodes.get(workflow, node)

    def set_node_run(self, workflow: str, node: str, key: str) -> None:
        """Remembers it; beyond some hundred nodes the oldest is forgotten. Raises StoreError."""
        self._folder(key)
        with self._mutex, self._writing(self.root):
            self._nodes.set(workflow, node, key)

    # Inside.

    def _folder(self, key: str) -> Path:
        if not is_key(key):
            raise ValueError(f"a run's key is 64 hexadecimal digits; got {key!r:.80}")
        return self.root / "runs" / key

    @contextmanager
    def _writing(self, folder: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(
                f"Could not write to {folder}: {error.strerror or error}. Free disk space or "
                "make the folder writable, and try again; earlier trainings are as they were."
            ) from error

    def _load(self, key: str) -> Record | None:
        """Raises _Damaged; gives None when there is nothing or it cannot be read just now."""
        folder = self._folder(key)
        try:
            values = unpack_record(key, read_json(folder / "run.json"))
            used = (folder / "run.json").stat().st_mtime
        except FileNotFoundError:
            if folder.is_dir():
                raise _Damaged("no run.json") from None
            return None
        except OSError:
            return None
        except ValueError as error:
            raise _Damaged(str(error)) from error
        if not _is_file(folder / "preview.jpg"):
            values["preview_step"] = None
        # The word is worth more than its curves.
        values["curve"] = _read(folder / "curve.bin", unpack_curve)
        values["validations"] = _read(folder / "validations.bin", unpack_validations)
        return Record(**values, used=used)

    def _lineage(self, key: str) -> str | None:
        """Without the curves, which take long to read."""
        with suppress(OSError, ValueError, AttributeError):
            return read_json(self._folder(key) / "run.json").get("lineage")
        return None

    def _usable(self, key: str) -> Record | None:
        """A record whose files are whole. A folder that is not is removed."""
        if not is_key(key):
            return None
        with suppress(_Damaged):
            return self._load_whole(key)
        self._drop(key, self._is_damaged)
        return None

    def _load_whole(self, key: str) -> Record | None:
        """Raises _Damaged, also for a token without its state and a state without its token.

        A run that failed may have a token alone: the last good word of one that diverged.
        """
        record = self._load(key)
        if record is not None:
            token, state = _is_file(self.token_path(key)), _is_file(self.state_path(key))
            if not {"finished": token, "failed": token >= state}.get(record.state, token == state):
                raise _Damaged("half of it is missing")
        return record

    def _is_damaged(self, key: str) -> bool:
        try:
            self._load_whole(key)
        except _Damaged:
            return True
        return False

    def _touch(self, record: Record) -> Record:
        now = self._clock()
        with suppress(OSError):
            os.utime(self._folder(record.key) / "run.json", (now, now))
        return replace(record, used=now)

    def _keys(self) -> list[str]:
        with suppress(OSError):
            return [name for name in os.listdir(self.root / "runs") if is_key(name)]
        return []

    def _take(self, key: str) -> None:
        """Raises StoreError."""
        folder = self._folder(key)
        with self._mutex:
            held = self._held.get(key)
            if held and held.thread == threading.get_ident():
                held.depth += 1
                return
            lock = FileLock(self._lock_path(key))
            with self._writing(folder):
                taken = not held and lock.acquire()
            if not taken:
                raise StoreError(
                    f"This training is already running and writes to {folder}: wait until it "
                    "ends, then queue again."
                )
            self._held[key] = _Hold(lock, threading.get_ident())

    def _give_back(self, key: str) -> None:
        with self._mutex:
            held = self._held[key]
            held.depth -= 1
            if held.depth == 0:
                del self._held[key]
                held.lock.release()

    def _lock_path(self, key: str) -> Path:
        return self.root / "locks" / f"{key}.lock"

    def _drop(self, key: str, condition: Callable[[str], bool] = is_key) -> bool:
        """Removes a run, unless another thread or process trains it; says whether it did.

        condition: has to hold once nobody else can write there.
        The thread that holds a run removes its own leftovers: nothing is trained there yet.
        """
        with self._mutex:
            if key in self._held:
                if self._held[key].thread != threading.get_ident():
                    return False
                gone = condition(key) and self._remove(key)
                with suppress(OSError):
                    self._folder(key).mkdir(exist_ok=True)
                return gone
            lock = FileLock(self._lock_path(key))
            try:
                if not lock.acquire():
                    return False
            except OSError:  # a full disk has no room for a lock either
                if self._lock_path(key).exists():
                    return False
            try:
                return condition(key) and self._remove(key)
            finally:
                lock.release()

    def _remove(self, key: str) -> bool:
        folder = self._folder(key)
        dropped = folder.with_name(_DROPPED + uuid.uuid4().hex)
        try:
            os.rename(folder, dropped)  # first, so that nobody sees half of it
        except OSError:
            return False
        shutil.rmtree(dropped, ignore_errors=True)
        return True

    def _trim(self, keep: str = "") -> None:
        """Drops leftovers, then the least recently used runs until the rest is in the limit."""
        runs = []
        for key in self._keys():
            folder = self._folder(key)
            used = _changed(folder / "run.json")
            if used is None:
                if self._is_stale(folder):
                    self._drop(key)
                continue
            runs.append((used, key, _size(folder)))
        total = sum(size for _, _, size in runs)
        limit = self.limit_mb << 20
        for _, key, size in sorted(runs):
            if total > limit and key != keep and key not in self._held and self._drop(key):
                total -= size
        self._sweep()

    def _sweep(self) -> None:
        """Removes what a process left that was killed while it wrote or dropped something."""
        with suppress(OSError):
            for path in (self.root / "runs").glob(_DROPPED + "*"):
                shutil.rmtree(path, ignore_errors=True)
            # Ours, and the engine's.
            for pattern in ("*" + PARTIAL, "runs/*/*" + PARTIAL, "runs/*/*.tmp"):
                for path in self.root.glob(pattern):
                    if self._is_stale(path):
                        path.unlink(missing_ok=True)

    def _is_stale(self, path: Path) -> bool:
        changed = _changed(path)
        return changed is not None and self._clock() - changed > _STALE_SECONDS


@dataclass
class _Hold:
    lock: FileLock
    thread: int
    depth: int = 1


def _is_file(path: Path) -> bool:
    """Whether a file is there and holds something."""
    try:
        return path.is_file() and path.stat().st_size > 0
    except OSError:
        return False


def _read(path: Path, unpack: Callable[[bytes], list]) -> list:
    """What a file holds, nothing where it is missing or damaged."""
    with suppress(OSError, ValueError, OverflowError):
        return unpack(path.read_bytes())
    return []


def _changed(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None


def _size(folder: Path) -> int:
    """Bytes of the files in a folder; what vanishes meanwhile counts nothing."""
    total = 0
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):
                total += entry.stat(follow_symlinks=False).st_size
    return total
