"""Servers that are started again, and what their ends leave behind."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import threading
from dataclasses import fields
from datetime import datetime

import pytest
from PIL import Image
from server import (
    JOB_S,
    LONG,
    MODEL,
    QUICK,
    Server,
    check_events,
    has_stepped,
    train,
    wait_for,
)
from sound import WORKS, refusal
from wire import Wire, has_closed
from zoodip.client import ApiError, Event, Job

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def test_one_folder_of_jobs_has_one_server(serve):
    server = serve()
    other = Server(server.material, server.jobs.parent)
    assert str(server.jobs) in other.refusal()
    server.client().health()
    server.kill()  # a lock that outlives its holder would keep everybody out
    server.start().client().health()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_without_work_ends_at_once(serve, number):
    server = serve()
    with Wire(server.port).connect() as idle:
        assert server.stop(number) < 2
        assert has_closed(idle)


def test_what_was_queued_is_queued_after_a_restart(serve):
    server = serve()
    client = server.client()
    done = client.wait(train(client).id, JOB_S)
    running = has_stepped(client, train(client, **LONG))
    queued = [train(client, f"word{i}", **QUICK) for i in range(3)]
    client.cancel(queued[1].id)
    assert server.stop() < 2
    server.start()
    assert client.job(done.id) == done
    before = client.job(running.id)
    assert before.state in ("queued", "running")
    order = [queued[0], queued[2]]
    wait_for(lambda: client.job(running.id).state == "running", JOB_S, "it to go on")
    assert [client.job(job.id).position for job in order] == [0, 1]
    assert client.job(queued[1].id).state == "cancelled"
    has_stepped(client, running, running.step)
    client.cancel(running.id)
    ended = [client.wait(job.id, JOB_S) for job in order]
    assert [job.state for job in ended] == ["finished"] * 2
    assert ended[0].ended <= ended[1].started
    assert client.job(done.id) == done


def test_a_training_that_was_interrupted_ends_as_the_unbroken_one(serve, learn, tmp_path):
    """Events are heard through it all by one who knows nothing of the restarts."""
    server = serve()
    client = server.client()
    settings = QUICK | {"steps": 500, "checkpoint_every": 100_000, "average_steps": 60}
    job = train(client, **settings)
    heard: list[Event] = []
    listener = threading.Thread(target=lambda: heard.extend(client.events(job.id)), daemon=True)
    listener.start()
    reached = 0
    for _ in range(2):
        before = has_stepped(client, job, reached + 1)
        assert server.stop() < 2
        server.start()
        reached = has_stepped(client, job, before.step).step
    done = client.wait(job.id, JOB_S)
    assert (done.state, done.step) == ("finished", 500)
    assert client.token(job.id) == learn(**settings)
    listener.join(JOB_S)
    check_events(heard)
    # It is written when it is told to end: nothing is done again.
    steps = [event.data["step"] for event in heard if event.name == "step"]
    assert steps == sorted(steps)
    assert list(client.events(job.id)) == heard


def test_times_are_of_the_universal_clock(client):
    before = datetime.now().astimezone()
    job = train(client)
    created = datetime.fromisoformat(job.created.replace("Z", "+00:00"))
    assert abs((created - before).total_seconds()) < 5


def test_a_queue_takes_no_more_from_many_at_once(serve):
    client = serve("--queue", "5").client()
    has_stepped(client, train(client, **LONG))
    told: list[int] = []

    def ask() -> None:
        status = 503  # so many at a time may be more than it reads
        while status == 503:
            try:
                train(client)
                status = 202
            except ApiError as error:
                status = error.status
        told.append(status)

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(JOB_S)
    assert sorted(told) == [202] * 5 + [429] * 15
    assert [job.position for job in client.jobs()] == [4, 3, 2, 1, 0, None]


def test_who_waits_for_leave_to_send_gets_it(client, wire):
    """As curl does with a large body."""
    body = json.dumps(WORKS).encode()
    lines = ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    with wire.connect() as connection:
        connection.sendall(wire.head("POST", "/v1/jobs", *lines, "Expect: 100-continue"))
        leave = b"HTTP/1.1 100 Continue\r\n\r\n"
        assert connection.recv(len(leave)) == leave
        connection.sendall(body)
        assert wire.read(connection, "POST").status == 202


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-7]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"\xff{" * 500),
        lambda path: path.unlink(),
    ],
    ids=["cut", "empty", "garbage", "gone"],
)
def test_damaged_files_do_not_keep_other_jobs_from_being_served(serve, damage):
    server = serve()
    client = server.client()
    sound = client.wait(train(client).id, JOB_S)
    ended = client.wait(train(client, **(QUICK | {"preview_every": 5})).id, JOB_S)
    running = has_stepped(client, train(client, **LONG), step=10)
    queued = train(client)
    server.kill()
    for job in (ended, running, queued):
        paths = [path for path in (server.jobs / job.id).rglob("*") if path.is_file()]
        assert paths
        for path in paths:
            damage(path)
    server.start()
    assert client.job(sound.id) == sound and client.token(sound.id)
    for job in client.jobs():
        assert list(zip(client.events(job.id), range(3), strict=False)) or job.has_ended
    assert client.wait(train(client).id, JOB_S).state == "finished"


@pytest.fixture
def small_disk(material, tmp_path):
    """A server whose jobs lie on a disk of 400 kB, which is there for it alone."""
    server = Server(material, tmp_path)
    mount = 'mount -t tmpfs -o size=400k tmpfs "$0" && exec "$@"'
    server.prefix = ["unshare", "-rm", "sh", "-c", mount, str(server.jobs)]
    server.jobs.mkdir()
    may = shutil.which("unshare") is not None
    if not may or subprocess.run([*server.prefix, "true"], capture_output=True).returncode != 0:
        pytest.skip("needs the right to mount a file system in a namespace of its own")
    yield server.start()
    server.close()


def test_a_full_disk_refuses_and_leaves_nothing(small_disk, tmp_path):
    client = small_disk.client()
    large = tmp_path / "large.png"
    Image.effect_noise((600, 600), 99).save(large)
    assert large.stat().st_size > 200_000
    for _ in range(3):
        assert refusal(client.train, MODEL, [large, large], "sks", "dog", **QUICK).status == 507
    assert client.jobs() == []
    assert client.wait(train(client).id, JOB_S).state == "finished"


def test_a_training_that_fills_the_disk_fails_alone(small_disk):
    client = small_disk.client()
    greedy = {"checkpoint_every": 1, "checkpoints_kept": 1000, "vectors": 32, "steps": 1000}
    job = client.wait(train(client, **(QUICK | greedy)).id, JOB_S)
    assert job.state == "failed" and job.message, job
    client.delete(job.id)
    job = client.wait(train(client).id, JOB_S)
    assert job.state == "finished" and client.token(job.id)
    check_events(list(client.events(job.id)))


def test_a_job_tells_what_is_declared_and_no_more(client, wire):
    job = train(client)
    told = wire.ask("GET", f"/v1/jobs/{job.id}").json
    assert set(told) == {field.name for field in fields(Job)}
