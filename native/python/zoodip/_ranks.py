"""Runs on several processes: torch's c10d carries what the engine tells from rank to rank.

torchrun says by its environment who a process is and where all meet. Bytes go over Gloo, between
processors: what ranks tell one another are numbers of a few bytes that lie there anyway, also where
the model is on a graphics card. Nothing is unpickled.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn

from ._loader import NativeModuleError, load_native

MEETING = 300.0  # seconds to wait for all ranks at the beginning
PATIENCE = 0.5  # seconds between two looks at whether the run was stopped
STOPPED = 10.0  # seconds that a stopped rank waits for the others
# Seconds in which those that are there answer when one is missing: they come from their own step.
ROLL_CALL, LONGEST_ROLL_CALL = 3.0, 20.0

Stopping = Callable[[], bool]


class RanksError(Exception):
    """What is wrong with the ranks, in a sentence."""


@dataclass(frozen=True)
class Place:
    """Which rank this is, and where all meet."""

    rank: int
    size: int
    local_rank: int
    local_size: int
    address: str
    port: int
    agent: bool
    """Whether torchrun's own process holds the store at that address."""
    attempt: str
    listen: str
    """The address that this rank is reached at; empty for the one that leads to `address`."""

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Place:
        def number(name: str, least: int, most: int, default: int | None = None) -> int:
            text = environment.get(name, "" if default is None else str(default))
            if text.isdecimal() and least <= int(text) <= most:
                return int(text)
            raise RanksError(
                f"{name}: needs a number from {least} to {most}, got {text!r}. torchrun sets it: "
                "torchrun --nproc-per-node 2 -m -- zoodip train ..."
            )

        size = number("WORLD_SIZE", 1, 4096)
        local_rank = number("LOCAL_RANK", 0, size - 1, 0)
        address = environment.get("MASTER_ADDR", "")
        if not address:
            raise RanksError("MASTER_ADDR: needs the address of rank 0's machine, got none")
        return cls(
            rank=number("RANK", 0, size - 1),
            size=size,
            local_rank=local_rank,
            local_size=number("LOCAL_WORLD_SIZE", local_rank + 1, size, local_rank + 1),
            address=address,
            port=number("MASTER_PORT", 1, 65535),
            agent=environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
            attempt=environment.get("TORCHELASTIC_RESTART_COUNT", "0"),
            listen=environment.get("ZOODIP_RANK_ADDRESS", ""),
        )


def own_address(place: Place) -> str:
    """That of this machine on the way to where all meet: the loopback's for the loopback's."""
    if place.listen:
        return place.listen
    try:
        family, kind, *_, target = socket.getaddrinfo(
            place.address, place.port, type=socket.SOCK_DGRAM
        )[0]
        with socket.socket(family, kind) as probe:
            probe.connect(target)  # which sends nothing
            return str(probe.getsockname()[0])
    except OSError as error:
        raise RanksError(
            f"MASTER_ADDR: this machine finds no way to {place.address} ({error})"
        ) from error


def listening_socket(place: Place) -> int:
    """A socket on the meeting's own address: left to itself, c10d's store would take all."""
    try:
        family, kind, *_, target = socket.getaddrinfo(
            place.address, place.port, type=socket.SOCK_STREAM
        )[0]
        server = socket.socket(family, kind)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(target)
        server.listen(place.size)
    except OSError as error:
        raise RanksError(
            f"MASTER_ADDR: rank 0 cannot listen at {place.address}:{place.port} ({error})"
        ) from error
    return server.detach()


class Ranks:
    """The other processes of a run, as the engine's Wire wants them."""

    def __init__(self, place: Place) -> None:
        import torch
        import torch.distributed as dist

        if os.name == "nt" or not dist.is_available() or not dist.is_gloo_available():
            raise RanksError(
                f"ranks: they need torch.distributed with Gloo, elsewhere than on Windows; torch "
                f"{torch.__version__} on {sys.platform} has not got that. Start one process, "
                "without torchrun"
            )
        self.rank, self.size, self.local_size = place.rank, place.size, place.local_size
        self._torch = torch
        self._hosts: dict[int, str] = {}
        try:
            self._store = self._meet(dist, place)
            self._group = self._connect(dist, place)
        except RuntimeError as error:  # c10d's own
            raise RanksError(
                f"ranks: rank {place.rank} of {place.size} cannot reach the others by "
                f"{place.address}:{place.port} ({_first_line(error)})"
            ) from error

    def name_of(self, rank: int) -> str:
        host = self._hosts.get(rank, "")
        return f"rank {rank} of {self.size}" + (f" (on {host})" if host else "")

    def all_gather(self, mine: bytes, limit: float, stopping: Stopping) -> bytes:
        own = self._torch.frombuffer(bytearray(mine), dtype=self._torch.uint8)
        every = self._torch.empty(self.size * len(mine), dtype=self._torch.uint8)
        self._finish(lambda: self._group._allgather_base(every, own), limit, stopping)
        return every.numpy().tobytes()

    def send(self, to: int, data: bytes, limit: float) -> None:
        if not data:
            return
        own = self._torch.frombuffer(bytearray(data), dtype=self._torch.uint8)
        self._pass_on(lambda: self._group.send([own], to, 0), limit)

    def receive(self, source: int, count: int, limit: float) -> bytes:
        theirs = self._torch.empty(count, dtype=self._torch.uint8)
        if count:
            self._pass_on(lambda: self._group.recv([theirs], source, 0), limit)
        return theirs.numpy().tobytes()

    def _meet(self, dist: Any, place: Place) -> Any:
        """The store in which all say that they are there."""
        leads = place.rank == 0 and not place.agent
        wait = timedelta(seconds=MEETING)
        store = dist.TCPStore(
            place.address,
            place.port,
            place.size,
            leads,
            timeout=wait,
            wait_for_workers=False,
            master_listen_fd=listening_socket(place) if leads else None,
        )
        store = dist.PrefixStore(f"zoodip/{place.attempt}", store)
        store.set(f"host/{place.rank}", socket.gethostname())
        others = [f"host/{rank}" for rank in range(place.size)]
        try:
            store.wait(others, wait)
        except RuntimeError as error:
            absent = [rank for rank, key in enumerate(others) if not store.check([key])]
            if not absent:
                raise
            raise RanksError(
                f"ranks: {self._names(absent)} did not come to {place.address}:{place.port} "
                f"within {MEETING:.0f} s"
            ) from error
        self._hosts = {rank: store.get(key).decode() for rank, key in enumerate(others)}
        return store

    def _connect(self, dist: Any, place: Place) -> Any:
        gloo = dist.ProcessGroupGloo
        options = gloo._Options()
        options._devices = [gloo.create_device(hostname=own_address(place))]
        options._threads = 1
        # Its own limit is out of the way: each call has one.
        options._timeout = timedelta(seconds=MEETING)
        group = gloo(dist.PrefixStore("gloo", self._store), place.rank, place.size, options)
        group._set_default_timeout(timedelta(days=30))
        return group

    def _finish(self, begin: Callable[[], Any], limit: float, stopping: Stopping) -> None:
        """Waits until what is begun has come to its end; looks up now and then."""
        since = time.monotonic()
        try:
            work = begin()
            while not self._ended(work):
                waited = time.monotonic() - since
                if waited > (min(limit, STOPPED) if stopping() else limit):
                    self._tell_missing(limit, f"within {waited:.0f} s")
        except RuntimeError as error:
            self._tell_missing(limit, "", error)

    @staticmethod
    def _ended(work: Any) -> bool:
        try:
            work.wait(timedelta(seconds=PATIENCE))
        except RuntimeError:
            if not work.is_completed():
                return False
            work.wait()  # raises what broke it, if anything did
        return True

    def _pass_on(self, begin: Callable[[], Any], limit: float) -> None:
        """From one rank to another, in one wait: Gloo parts two ranks of which one gives up."""
        since = time.monotonic()
        try:
            begin().wait(timedelta(seconds=limit))
        except RuntimeError as error:
            waited = time.monotonic() - since
            when = f"within {waited:.0f} s" if waited >= limit else ""
            self._tell_missing(limit, when, error)

    def _tell_missing(self, limit: float, when: str, error: Exception | None = None) -> NoReturn:
        """Who is there says so in the store; who does not is named."""
        missing: list[int] = []
        try:
            self._store.set(f"here/{self.rank}", "")
            end = time.monotonic() + min(ROLL_CALL + limit / 10, LONGEST_ROLL_CALL)
            while True:
                missing = [r for r in range(self.size) if not self._store.check([f"here/{r}"])]
                if not missing or time.monotonic() > end:
                    break
                time.sleep(0.05)
        except RuntimeError:  # the store is rank 0's, or its torchrun's
            missing = missing or [0]
        if missing:
            what = (
                f"did not answer {when}" if when else "is gone: it has died, or lost its way here"
            )
            raise RanksError(f"{self._names(missing)} {what}")
        raise RanksError(
            "ranks: the connection between them broke"
            + (f" ({_first_line(error)})" if error else f": no answer {when}")
        )

    def _names(self, ranks: list[int]) -> str:
        return " and ".join(self.name_of(rank) for rank in ranks)


def _first_line(error: Exception | None) -> str:
    return str(error).partition("\n")[0]


def choose_card(place: Place, environment: Any) -> None:
    """Each rank of a machine has a graphics card of its own, the only one that it sees."""
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    cards = visible.split(",") if visible else [str(i) for i in range(place.local_size)]
    own = cards[place.local_rank : place.local_rank + 1]
    environment["CUDA_VISIBLE_DEVICES"] = own[0] if own and visible != "" else ""


def run_rank(arguments: list[str]) -> NoReturn:
    """The program as one rank; ends the process with its exit status."""
    try:
        place = Place.read(os.environ)
        choose_card(place, os.environ)
        native = load_native()
        ranks = Ranks(place)  # held to the end: taken down, Gloo would wait for a rank that hangs
        status: int = native.run_program(arguments, ranks)
    except (RanksError, NativeModuleError) as error:
        print(f"zoodip: error: {error}", file=sys.stderr)
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
