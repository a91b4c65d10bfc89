"""What is too large, too many or too slow: refused, while others are served."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import time
import zlib
from pathlib import Path

import pytest
from server import JOB_S, LONG, Server, has_stepped, train, wait_for
from sound import MIB, WORKS, picture, texts
from wire import Reply, Wire, form


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (["X-Long: " + "x" * 8300], 431),
        (["X" * 8300 + ": x"], 431),
        ([f"X-{i}: x" for i in range(70)], 431),
        ([f"X-{i}: {'x' * 4000}" for i in range(5)], 431),
        (["X-Endless: " + "x" * MIB], 431),
    ],
    ids=["line", "name", "count", "sum", "endless"],
)
def test_a_head_that_is_too_large_is_refused(wire, lines, status):
    assert wire.send(wire.head("GET", "/v1/health", *lines), closes=True).status == status


@pytest.mark.parametrize("length", [8300, MIB])
def test_a_request_line_that_is_too_long_is_refused(wire, length):
    reply = wire.send(wire.head("GET", "/v1/health?" + "x" * length), closes=True)
    assert reply.status == 414


def test_a_head_of_many_lines_is_taken_to_the_limit(wire):
    lines = [f"X-{i}: x" for i in range(60)]
    assert wire.send(wire.head("GET", "/v1/health", *lines)).status == 200
    assert wire.send(wire.head("GET", "/v1/health", "X-Long: " + "x" * 7900)).status == 200


@pytest.mark.parametrize("length", [64 * MIB + 1, 10**12, 2**63, 2**64 + 5, 10**40])
def test_a_body_that_is_declared_too_large_is_not_read(wire, length):
    lines = ["Content-Type: multipart/form-data; boundary=b", f"Content-Length: {length}"]
    reply = wire.send(wire.head("POST", "/v1/jobs", *lines), closes=True)
    assert reply.status in (400, 413) if length > 2**62 else reply.status == 413


@pytest.mark.parametrize(
    "length", ["-1", "+5", "0x10", "5,5", "5 5", "", "five", "1e3", "5;", "\xb2"]
)
def test_a_length_that_is_none_is_refused(wire, length):
    lines = ["Content-Type: application/json", f"Content-Length: {length}"]
    data = wire.head("POST", "/v1/jobs", *lines) + b"{}   "
    assert wire.send(data, closes=True).status in (400, 411)


def test_json_that_is_too_large_is_refused(wire):
    body = json.dumps(WORKS | {"word": "x" * MIB}).encode()
    assert wire.post(body).status == 413


def test_too_many_and_too_large_pictures_are_refused(wire, client, material):
    content = material.pictures()[0].read_bytes()
    kind = "multipart/form-data; boundary=b"
    for parts in (
        [picture(content)] * 17,
        [picture(content + b"\0" * 16 * MIB)],
        [picture(content)] * 3000,
        [],
    ):
        reply = wire.post(form(*texts(), *parts), kind)
        assert reply.status in (400, 413, 422), reply
    assert client.jobs() == []
    assert wire.post(form(*texts(), *[picture(content)] * 16), kind).status == 202


def png(width: int, height: int, data: bytes = b"") -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        whole = name + content
        return struct.pack(">I", len(content)) + whole + struct.pack(">I", zlib.crc32(whole))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = [(b"IHDR", header), (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*one) for one in body)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no picture",
        b"GIF89a" + b"\0" * 100,
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff\xe0" + b"\xff" * 1000,
        b"RIFF\xff\xff\xff\xffWEBPVP8 " + b"\xff" * 100,
        png(60_000, 60_000, zlib.compress(bytes(10 * MIB))),
        png(2**31 - 1, 1),
        png(0, 0),
        png(16, 16, zlib.compress(bytes(16 * 20))),
        png(7, 16, zlib.compress(bytes(16 * 22))),
    ],
    ids=[
        *("empty", "text", "gif", "svg", "cut", "jpeg", "webp", "bomb", "wide", "none"),
        *("short", "small"),
    ],
)
def test_what_is_no_picture_is_refused_by_the_client_s_name(wire, client, material, content):
    sound = material.pictures()[0].read_bytes()
    sent = form(*texts(), picture(sound), picture(content, "my dog.png"))
    reply = wire.post(sent, "multipart/form-data; boundary=b")
    assert reply.status == 422, reply
    assert reply.json["detail"].startswith("pictures: my dog.png: ")
    assert client.jobs() == []


@contextlib.contextmanager
def connections(wire: Wire, count: int):
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(wire.connect()) for _ in range(count)]


def test_more_connections_than_it_takes_are_turned_away(wire, client):
    with connections(wire, 256):
        for _ in range(3):
            reply = wire.ask("GET", "/v1/health")
            assert reply.status == 503 and int(reply.headers["retry-after"]) >= 1
            assert reply.headers["content-type"] == "application/problem+json"
    wait_for(lambda: wire.ask("GET", "/v1/health").status == 200, 10, "room again")


def test_a_flood_of_connections_passes(wire):
    for _ in range(3):
        with connections(wire, 400) as flood:
            for connection in flood[::2]:
                with contextlib.suppress(ConnectionError):
                    connection.sendall(b"GET /v1/hea")
            for connection in flood[1::4]:  # closed with a reset
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wait_for(lambda: wire.ask("GET", "/v1/health").status == 200, 10, "room again")


def open_streams(
    wire: Wire, stack: contextlib.ExitStack, id: str, count: int
) -> list[Reply | None]:
    """Streams that stay open are None; what is refused is its answer."""
    answers = []
    for _ in range(count):
        connection = stack.enter_context(wire.connect())
        connection.sendall(wire.head("GET", f"/v1/jobs/{id}/events", "Connection: close"))
        first = connection.recv(15)
        if first.startswith(b"HTTP/1.1 200"):
            answers.append(None)
        else:
            rest = b""
            while more := connection.recv(65536):
                rest += more
            answers.append(int(first.split()[1]))
    return answers


def test_more_streams_than_it_takes_are_turned_away(wire, client):
    first = has_stepped(client, train(client, **LONG))
    queued = train(client)
    with contextlib.ExitStack() as stack:
        assert open_streams(wire, stack, queued.id, 200) == [None] * 200
        assert open_streams(wire, stack, first.id, 3) == [503] * 3
        assert wire.ask("GET", "/v1/health").status == 200
        assert client.job(queued.id).state == "queued"

    def takes_another() -> bool:
        with contextlib.ExitStack() as stack:
            return open_streams(wire, stack, queued.id, 1) == [None]

    wait_for(takes_another, 40, "a stream when the others were closed")


def test_who_does_not_read_holds_nobody_up(wire, client):
    job = has_stepped(client, train(client, **LONG))
    with contextlib.ExitStack() as stack:
        assert open_streams(wire, stack, job.id, 50) == [None] * 50
        for _ in range(20):
            assert wire.ask("GET", "/v1/health").status == 200
        client.cancel(job.id)
        assert client.wait(job.id, JOB_S).state == "cancelled"


def test_slow_bodies_hold_nobody_up(wire):
    lines = ["Content-Type: application/json", "Content-Length: 1000"]
    with connections(wire, 100) as slow:
        for connection in slow:
            connection.sendall(wire.head("POST", "/v1/jobs", *lines) + b"{")
        for byte in (b'"', b"m", b"o"):
            assert wire.ask("GET", "/v1/health").status == 200
            for connection in slow:
                connection.sendall(byte)
        assert wire.post(WORKS).status == 202


def open_files(server: Server) -> int:
    return len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))


def test_what_is_broken_off_leaves_nothing_behind(wire, client, server, material):
    """Uploads that end in their midst, streams, and requests whose answer nobody waits for."""
    job = client.wait(train(client).id, JOB_S)
    wire.ask("GET", "/v1/health")
    before, files = open_files(server), sorted(server.jobs.rglob("*"))
    body = form(*texts(), picture(material.pictures()[0].read_bytes()))
    lines = ["Content-Type: multipart/form-data; boundary=b", f"Content-Length: {len(body)}"]
    for _ in range(40):
        with wire.connect() as connection:
            connection.sendall(wire.head("POST", "/v1/jobs", *lines) + body[: len(body) // 2])
        with wire.connect() as connection:
            connection.sendall(wire.head("GET", f"/v1/jobs/{job.id}/events"))
        with wire.connect() as connection:
            connection.sendall(wire.head("GET", "/v1/settings") * 20)
    wait_for(lambda: open_files(server) <= before, 30, f"{before} open files as before")
    assert sorted(server.jobs.rglob("*")) == files
    assert client.jobs() == [job]


@pytest.mark.slow
def test_slow_heads_are_given_up_and_hold_nobody_up(wire):
    """Some send a byte a second, some nothing more than the first line."""
    begun = time.monotonic()
    rest = wire.head("GET", "/v1/health", "X-Slow: " + "x" * 100)
    with connections(wire, 100) as slow:
        open_now = set(slow)
        for connection in slow[50:]:
            connection.sendall(rest[:30])
        for i in range(14):
            for connection in slow[:50]:
                if connection in open_now:
                    with contextlib.suppress(ConnectionError):
                        connection.sendall(rest[i : i + 1])
            assert wire.ask("GET", "/v1/health").status == 200
            for connection in list(open_now):
                connection.setblocking(False)
                try:
                    told = connection.recv(65536)
                except BlockingIOError:
                    continue
                except ConnectionResetError:
                    told = b""
                assert time.monotonic() - begun > 8
                assert told == b"" or told.startswith(b"HTTP/1.1 408 ")
                open_now.remove(connection)
            if not open_now:
                break
            time.sleep(max(0, begun + i + 1 - time.monotonic()))
        assert not open_now, f"{len(open_now)} are still waited for"
