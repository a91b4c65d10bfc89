"""Kills a server at random moments while jobs are made, run, finished and deleted.

Usage: python tests/api/kill.py [--times 50] [--seed 0]

Every job that was acknowledged must be there after each start, must end once, with the word of an
unbroken run, and its events must go on without a gap for one who listens through it all.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import random
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from server import FOLDER, MODEL, QUICK, Material, Server, check_events
from zoodip.client import ApiError, Client, Event, Job

# Some end between two kills, some are killed several times; the first keeps more than the word.
KINDS = [
    {"steps": 15, "checkpoint_every": 1, "average_steps": 9, "validate_every": 4},
    {"steps": 50, "checkpoint_every": 7, "learning_rate_schedule": "cosine"},
    {"steps": 120, "checkpoint_every": 40, "preview_every": 50},
]
LONGEST_S = 3.0  # from a start to the kill
END_S = 600
DONE_S = 60


@dataclass
class Followed:
    """A job that was acknowledged, and what was heard of it."""

    job: Job
    kind: int
    sent: bool
    heard: list[Event] = field(default_factory=list)
    done: Job | None = None
    """As it was first seen after its end."""

    @property
    def begun(self) -> int:
        """How often it was begun, as far as was heard."""
        return sum(event.data.get("state") == "running" for event in self.heard)

    def listen(self, client: Client) -> threading.Thread:
        def follow() -> None:
            with contextlib.suppress(ApiError):  # deleted before its end was heard
                for event in client.events(self.job.id):
                    self.heard.append(event)

        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        return thread


def words_of(material: Material, folder: Path) -> Callable[[int, bool], bytes]:
    """The words that unbroken runs end with, by kind and by whether the pictures were sent."""
    import zoodip

    known: dict[tuple[int, bool], bytes] = {}

    def word(kind: int, sent: bool) -> bytes:
        if (kind, sent) not in known:
            images = material.images / ("plain" if sent else FOLDER)
            out = folder / f"{kind}-{sent}.safetensors"
            zoodip.train(material.model, images, "sks", "dog", out, **(QUICK | KINDS[kind]))
            known[kind, sent] = numbers(out.read_bytes())
        return known[kind, sent]

    return word


def numbers(token: bytes) -> bytes:
    from safetensors.torch import load

    return load(token)["clip_l"].numpy().tobytes()


class Campaign:
    """One server that is killed again and again, and all that it has promised."""

    def __init__(self, material: Material, folder: Path, seed: int) -> None:
        self.material = material
        self.chance = random.Random(seed)
        self.word = words_of(material, folder)
        self.server = Server(material, folder, "--queue", "100", "--keep", "1000").start()
        self.client = self.server.client(timeout=30)
        self.all: list[Followed] = []
        self.followed: dict[str, Followed] = {}  # of all, those that were not deleted
        self.threads: list[threading.Thread] = []
        self.deleted: set[str] = set()
        self.gone: set[str] = set()  # of the deleted, those whose deletion was acknowledged

    def work(self) -> None:
        """Makes and deletes jobs until the server is gone."""
        while True:
            try:
                self.do_something()
            except (OSError, http.client.HTTPException):
                return
            # Not for luck: how the moments of kills fall among requests and steps shall vary.
            time.sleep(self.chance.uniform(0, 0.3))

    def do_something(self) -> None:
        waiting = [one for one in self.followed.values() if one.done is None]
        ended = [one for one in self.followed.values() if one.done is not None]
        if len(waiting) < 6:
            kind, sent = self.chance.randrange(len(KINDS)), self.chance.random() < 0.5
            pictures = self.material.pictures() if sent else FOLDER
            job = self.client.train(MODEL, pictures, "sks", "dog", **(QUICK | KINDS[kind]))
            self.followed[job.id] = Followed(job, kind, sent)
            self.all.append(self.followed[job.id])
            self.threads.append(self.followed[job.id].listen(self.client))
        elif len(ended) > 1 and self.chance.random() < 0.3:
            one = self.chance.choice(ended)
            self.check_word(one)
            # Without an answer it may have been deleted or not.
            self.deleted.add(one.job.id)
            del self.followed[one.job.id]
            self.client.delete(one.job.id)
            self.gone.add(one.job.id)
        self.look()

    def look(self) -> None:
        """Every promise about what is there now."""
        jobs = {job.id: job for job in self.client.jobs()}
        for id, one in self.followed.items():
            assert id in jobs, f"{id} was acknowledged and is not there"
            job = jobs[id]
            assert job.settings == one.job.settings and job.created == one.job.created, job
            assert job.state in ("queued", "running", "finished"), job
            if one.done is not None:
                assert job == one.done, f"it ended as {one.done} and is now {job}"
            elif job.has_ended:
                one.done = job
        running = [job for job in jobs.values() if job.state == "running"]
        assert len(running) <= 1, running
        assert not self.gone & jobs.keys(), "a job that was deleted is there again"
        starts = [jobs[id].started for id in self.followed if jobs[id].started]
        assert starts == sorted(starts), "they were not begun in the order in which they came"

    def check_word(self, one: Followed) -> None:
        token = numbers(self.client.token(one.job.id))
        assert token == self.word(one.kind, one.sent), f"{one.done}: another word"

    def kill(self) -> None:
        """One round: a random time of work, the kill, the start, and what must hold then."""
        timer = threading.Timer(self.chance.uniform(0.02, LONGEST_S), self.server.process.kill)
        timer.start()
        self.work()
        timer.join()
        self.server.process.wait()
        self.server.process.stdout.close()
        self.server.start()
        self.look()

    def finish(self) -> None:
        """Lets everything end, and checks all of it."""
        end = time.monotonic() + END_S
        unknown: dict[str, Followed] = {}
        # A job whose acknowledgement was lost may be there too, and is no worse than the others.
        for job in self.client.jobs():
            done = self.client.wait(job.id, max(1.0, end - time.monotonic()))
            if job.id in self.deleted:
                continue
            assert done.state == "finished", done
            kind = next(i for i, kind in enumerate(KINDS) if job.settings == QUICK | kind)
            unknown.setdefault(job.id, Followed(job, kind, job.images is None, done=done))
        self.look()
        for thread in self.threads:
            thread.join(DONE_S)
        for one in (unknown | self.followed).values():
            self.check_word(one)
            told = list(self.client.events(one.job.id))
            check_events(told)
            heard = one.heard or told  # nobody listened to those that were not acknowledged
            assert heard == told, difference(heard, told)
        assert self.server.stop() < 5


def difference(heard: list[Event], told: list[Event]) -> str:
    for one, other in zip(heard, told, strict=False):
        if one != other:
            return f"{one} was heard, and is told now as {other}"
    return f"{len(heard)} events were heard, {len(told)} are told now"


def run(material: Material, folder: Path, times: int, seed: int) -> str:
    """Kills so often; returns what was done, in a line."""
    campaign = Campaign(material, folder, seed)
    try:
        for _ in range(times):
            campaign.kill()
        campaign.finish()
    except AssertionError:
        print(campaign.server.log_tail())
        raise
    finally:
        campaign.server.close()
    interrupted = sum(one.begun > 1 for one in campaign.all)
    return (
        f"{times} kills: {len(campaign.all)} jobs, {interrupted} of them interrupted, "
        f"{len(campaign.deleted)} deleted, {sum(len(one.heard) for one in campaign.all)} events"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--times", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        print(run(Material.write(Path(place)), Path(place) / "jobs", chosen.times, chosen.seed))
