"""What many listeners and askers cost a server that trains.

Usage: python tests/api/load.py [--seconds 30] [--streams 200] [--rate 50]

Streams stay open on a queued job while another trains; requests come at a fixed rate whether or
not the ones before were answered, and their latency counts from the moment at which they were due.
Prints what the server's own threads took of a core, and the latencies.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import tempfile
import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import quantiles

from server import LONG, QUICK, Material, Server, has_stepped, quiet, train
from wire import Reply, Wire, has_closed

ASKERS = 16
TICK = os.sysconf("SC_CLK_TCK")
OWN, WORKER = "zoodip-", "zoodip-worker"


@dataclass(frozen=True)
class Load:
    """What was measured."""

    seconds: float
    latencies: list[float]  # seconds, in rising order
    statuses: set[int]
    streams_open: int
    shares: dict[str, float]  # of a core, by the name of the thread
    steps: int  # that the training made meanwhile

    def __str__(self) -> str:
        cuts = quantiles(self.latencies, n=100)
        own = sum(self.shares.values())
        lines = [
            f"{len(self.latencies)} requests in {self.seconds:.1f} s, answered {self.statuses}; "
            f"{self.streams_open} streams open; {self.steps} steps trained",
            f"latency: p50 {cuts[49] * 1e3:.1f} ms, p99 {cuts[98] * 1e3:.1f} ms, "
            f"most {self.latencies[-1] * 1e3:.1f} ms",
            f"the server's threads: {own:.1%} of a core",
        ]
        lines += [f"  {name}: {share:.1%}" for name, share in sorted(self.shares.items())]
        return "\n".join(lines)


def processor_seconds(pid: int) -> dict[str, float]:
    """Of the threads that serve, by name; those that train are left out."""
    taken: dict[str, float] = defaultdict(float)
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended
            name = (task / "comm").read_text().strip()
            # Its name is in brackets, and may hold some itself.
            stat = (task / "stat").read_text().rpartition(")")[2].split()
            if name.startswith(OWN) and not name.startswith(WORKER):
                taken[name] += (int(stat[11]) + int(stat[12])) / TICK
    return taken


class Askers:
    """Threads that share one timetable: request i is due i / rate seconds after the start."""

    def __init__(self, wire: Wire, paths: list[str], rate: float, seconds: float) -> None:
        self.replies: list[tuple[float, Reply]] = []
        self.errors: list[Exception] = []
        self._wire, self._paths = wire, paths
        self._rate, self._total = rate, int(rate * seconds)
        self._next = count()

    def run(self) -> None:
        begun = time.monotonic()
        threads = [threading.Thread(target=self._ask, args=[begun]) for _ in range(ASKERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self.errors:
            raise self.errors[0]

    def _ask(self, begun: float) -> None:
        while not self.errors and (i := next(self._next)) < self._total:
            due = begun + i / self._rate
            time.sleep(max(0.0, due - time.monotonic()))
            try:
                reply = self._wire.ask("GET", self._paths[i % len(self._paths)])
            except Exception as error:
                self.errors.append(error)
                return
            self.replies.append((time.monotonic() - due, reply))


def open_streams(
    wire: Wire, stack: contextlib.ExitStack, id: str, many: int
) -> list[socket.socket]:
    streams = []
    for _ in range(many):
        stream = stack.enter_context(wire.connect())
        stream.sendall(wire.head("GET", f"/v1/jobs/{id}/events"))
        assert stream.recv(15).startswith(b"HTTP/1.1 200")
        streams.append(stream)
    return streams


def is_open(stream: socket.socket) -> bool:
    """Reads what has come; a stream that was closed ends there."""
    stream.setblocking(False)
    try:
        while stream.recv(65536):
            pass
    except BlockingIOError:
        return True
    return False


def run(server: Server, seconds: float, streams: int = 200, rate: float = 50) -> Load:
    client, wire = server.client(), Wire(server.port)
    training = has_stepped(client, train(client, **LONG))
    queued = train(client, **QUICK)
    paths = ["/v1/health", "/v1/jobs", f"/v1/jobs/{training.id}", "/v1/models", "/v1/settings"]
    with contextlib.ExitStack() as stack:
        opened = open_streams(wire, stack, queued.id, streams)
        askers = Askers(wire, paths, rate, seconds)
        step = client.job(training.id).step
        before = processor_seconds(server.process.pid)
        begun = time.monotonic()
        askers.run()
        took = time.monotonic() - begun
        after = processor_seconds(server.process.pid)
        load = Load(
            took,
            sorted(latency for latency, _ in askers.replies),
            {reply.status for _, reply in askers.replies},
            sum(map(is_open, opened)),
            {name: (after[name] - before.get(name, 0)) / took for name in after},
            client.job(training.id).step - step,
        )
        client.cancel(queued.id)
        for stream in opened:
            stream.settimeout(30)
            while stream.recv(65536):
                pass  # the rest of the events: who listens hears the end
            assert has_closed(stream)
    quiet(client)
    return load


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--rate", type=float, default=50)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        under_load = Server(Material.write(Path(place)), Path(place) / "served").start()
        try:
            print(run(under_load, chosen.seconds, chosen.streams, chosen.rate))
        finally:
            under_load.close()
