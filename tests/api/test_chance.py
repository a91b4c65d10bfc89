"""Many hands on the same jobs, and requests changed by chance."""

from __future__ import annotations

import contextlib
import json
import random
import threading

from server import JOB_S, LONG, train
from sound import WORKS, picture, texts
from wire import form, has_closed
from zoodip.client import ApiError, Client


def test_many_hands_on_the_same_jobs_leave_them_whole(wire, client, server):
    """Threads make, stop, cancel, delete and read the same few jobs in an order of chance."""
    known: list[str] = []
    odd: list[object] = []
    calls = [
        lambda _: known.append(train(client, **LONG).id),
        lambda _: client.jobs(),
        lambda id: next(client.events(id), None),
        client.stop,
        client.cancel,
        client.delete,
        client.token,
    ]

    def work(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(40):
            id = chance.choice(known) if known else "0123456789abcdef"
            try:
                chance.choice(calls)(id)
            except ApiError as error:
                if error.status not in (404, 409, 429, 503):
                    odd.append(error)
            except Exception as error:
                odd.append(error)

    threads = [threading.Thread(target=work, args=[seed]) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(JOB_S)
    assert odd == [] and not any(thread.is_alive() for thread in threads)
    jobs = client.jobs()
    assert len({job.id for job in jobs}) == len(jobs) and {job.id for job in jobs} <= set(known)
    assert sum(job.state == "running" for job in jobs) <= 1
    positions = [job.position for job in reversed(jobs) if job.state == "queued"]
    assert positions == list(range(len(positions)))
    assert "cannot write" not in server.log_tail()


def test_requests_changed_by_chance_are_answered_or_closed(wire, client, server, material):
    """Bytes are flipped, cut out, doubled and put elsewhere; the seed is fixed."""
    chance = random.Random(7)
    body = json.dumps(WORKS | {"word": "zwx"}).encode()
    sent = form(*texts(), picture(material.pictures()[0].read_bytes()[:2000]))
    kind = "Content-Type: multipart/form-data; boundary=b"
    sound = [
        wire.head("GET", "/v1/health"),
        wire.head("GET", "/v1/jobs/0123456789abcdef/events", "Last-Event-ID: 5"),
        wire.head("DELETE", "/v1/jobs/0123456789abcdef", "Origin: null"),
        wire.head(
            "POST", "/v1/jobs", "Content-Type: application/json", f"Content-Length: {len(body)}"
        )
        + body,
        wire.head("POST", "/v1/jobs", kind, f"Content-Length: {len(sent)}") + sent,
    ]
    for _ in range(400):
        data = bytearray(chance.choice(sound))
        for _ in range(chance.choice([1, 1, 2, 5])):
            place = chance.randrange(len(data))
            match chance.randrange(4):
                case 0:
                    data[place] = chance.randrange(256)
                case 1:
                    del data[place : place + chance.randrange(1, 20)]
                case 2:
                    data[place:place] = data[place : place + chance.randrange(1, 200)]
                case 3:
                    data[place:place] = chance.choice([b"\r\n", b"\0", b"\n", b":", b" ", b"\xff"])
            data = data or bytearray(b"x")
        wire.all(bytes(data), finish=True)
        assert server.alive, bytes(data)
    assert len(wire.replies) > 300
    for job in client.jobs():
        if not job.has_ended:
            with contextlib.suppress(ApiError):
                client.cancel(job.id)


def test_a_refusal_does_not_tell_of_the_machine(wire, server, material):
    """No path of it, and no address in memory."""
    asked = [
        wire.post(WORKS | {"model": "none"}),
        wire.post(WORKS | {"images": "none"}),
        wire.post(b"{"),
        wire.ask("GET", "/v1/none"),
        wire.ask("GET", "/v1/models"),
    ]
    for reply in asked:
        for hidden in (material.models, material.images, server.jobs):
            assert str(hidden).encode() not in reply.body


def test_the_server_is_the_same_as_before(wire, client: Client):
    """After all that, a job still ends as it should."""
    assert client.wait(train(client).id, JOB_S).state == "finished"
    with wire.connect() as connection:
        connection.sendall(wire.head("GET", "/v1/health", "Connection: close"))
        assert wire.read(connection).status == 200
        assert has_closed(connection)
