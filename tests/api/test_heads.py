"""Heads of requests that are no HTTP, and requests behind each other in one line."""

from __future__ import annotations

import pytest
from server import JOB_S, LONG, train


@pytest.mark.parametrize(
    "data",
    [
        b"GET /v1/health HTTP/1.1\nHost: HOST\n\n",
        b"GET /v1/health HTTP/1.1\r\nHost: HOST\n\r\n",
        b"GET /v1/health HTTP/1.1\r\nHost: HOST\r\nA: b\rC: d\r\n\r\n",
        b"GET /v1/health HTTP/1.1\r\nHost: HOST\r\nA: b\0c\r\n\r\n",
        b"GET /v1/hea\0lth HTTP/1.1\r\nHost: HOST\r\n\r\n",
        b"GET /v1/health HTTP/1.1\r\nHost : HOST\r\n\r\n",
        b"GET /v1/health HTTP/1.1\r\nHost: HOST\r\nA : b\r\n\r\n",
        b"GET /v1/health HTTP/1.1\r\nHost: HOST\r\n A: folded\r\n\r\n",
        b"GET /v1/health HTTP/1.1\r\nHost: HOST\r\nA: b\r\n\tfolded\r\n\r\n",
        b"GET /v1/health HTTP/1.1\r\n Host: HOST\r\n\r\n",
        b"GET /v1/health HTTP/1.1\r\nHost: HOST\r\nno colon\r\n\r\n",
        b"GET /v1/health HTTP/1.1\r\nHost: HOST\r\n: no name\r\n\r\n",
        b"GET /v1/health HTTP/1.1\r\nHost: HOST\r\nA(b): c\r\n\r\n",
        b"GET /v1/health HTTP/1.1\r\nHost: HOST\r\nA\xff: c\r\n\r\n",
        b"GET /v1/health HTTP/1.1\r\n\r\n",
        b"GET /v1/health HTTP/1.1\r\nHost: HOST\r\nHost: HOST\r\n\r\n",
        b"GET /v1/health HTTP/1.1\r\nHost: HOST\r\nhost: evil.example\r\n\r\n",
        b"GET /v1/health HTTP/1.1\r\nHost: HOST\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
        b"GET /v1/health HTTP/1.1\r\nHost: HOST\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET /v1/health\r\n\r\n",
        b"GET /v1/health\r\nHost: HOST\r\n\r\n",
        b"GET  /v1/health HTTP/1.1\r\nHost: HOST\r\n\r\n",
        b"GET /v1/health  HTTP/1.1\r\nHost: HOST\r\n\r\n",
        b"GET /v1/health HTTP/1.1 \r\nHost: HOST\r\n\r\n",
        b"GET /v1/ health HTTP/1.1\r\nHost: HOST\r\n\r\n",
        b"GET\t/v1/health\tHTTP/1.1\r\nHost: HOST\r\n\r\n",
        b"GET /v1/health HTTP/11\r\nHost: HOST\r\n\r\n",
        b"GET /v1/health HTTP/2.0\r\nHost: HOST\r\n\r\n",
        b"GET /v1/health http/1.1\r\nHost: HOST\r\n\r\n",
        b"GET /v1/health HTTPS/1.1\r\nHost: HOST\r\n\r\n",
        b"G(T /v1/health HTTP/1.1\r\nHost: HOST\r\n\r\n",
        b" GET /v1/health HTTP/1.1\r\nHost: HOST\r\n\r\n",
        b"/v1/health HTTP/1.1\r\nHost: HOST\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)) + b"\r\n\r\n",
        b"\0" * 4096 + b"\r\n\r\n",
        b"\xff\xfe\xfd\r\n\r\n",
        b"{}\r\n\r\n",
    ],
    ids=lambda data: repr(data[:70]).replace("/v1/health", "") if isinstance(data, bytes) else None,
)
def test_a_malformed_head_is_refused_and_the_line_closed(wire, data):
    data = data.replace(b"HOST", f"127.0.0.1:{wire.port}".encode())
    expected = 505 if b"HTTP/2.0" in data else 400
    assert wire.send(data, closes=True).status == expected


@pytest.mark.parametrize(
    "coding",
    ["chunked", "Chunked", "identity", "gzip, chunked", "chunked, chunked", "\x0bchunked", ""],
)
def test_transfer_encodings_are_refused_before_their_end(wire, client, coding):
    lines = ["Content-Type: application/json", f"Transfer-Encoding: {coding}"]
    data = wire.head("POST", "/v1/jobs", *lines) + b"ffffffff\r\n{"  # a chunk that does not come
    assert wire.send(data, closes=True).status in ((411,) if coding == "chunked" else (400, 411))
    assert client.jobs() == []


@pytest.mark.parametrize("first", ["Content-Length: 5", "Transfer-Encoding: chunked"])
def test_a_length_beside_a_transfer_encoding_is_refused(wire, client, first):
    """Which of the two a proxy before the server heeds decides where the next request begins."""
    lines = [first, "Content-Length: 5", "Transfer-Encoding: chunked"]
    lines = list(dict.fromkeys(lines))
    smuggled = wire.head("GET", "/v1/models")
    data = wire.head("POST", "/v1/jobs", *lines) + b"0\r\n\r\n" + smuggled
    replies = wire.all(data)
    assert [reply.status for reply in replies] == [400]


@pytest.mark.parametrize("coding", ["gzip", "br", "deflate", "identity, gzip"])
def test_packed_bodies_are_refused(wire, client, coding):
    lines = ["Content-Type: application/json", f"Content-Encoding: {coding}"]
    assert wire.ask("POST", "/v1/jobs", *lines, body=b"\x1f\x8b" * 20).status == 415
    assert client.jobs() == []


def test_requests_in_one_line_are_answered_in_their_order(wire):
    data = wire.head("GET", "/v1/health") + wire.head("GET", "/v1/none")
    data += wire.head("GET", "/v1/models", "Connection: close")
    statuses = [reply.status for reply in wire.all(data)]
    assert statuses in ([200, 404, 200], [200])  # it may close after the first, and say so
    if statuses == [200]:
        assert wire.replies[0].headers["connection"] == "close"


@pytest.mark.parametrize("garbage", [b"\0" * 100, b"x" * 20_000, b"\r\n\r\n\r\n", b"GET\r\n\r\n"])
def test_garbage_after_a_request_does_not_spoil_its_answer(wire, garbage):
    replies = wire.all(wire.head("GET", "/v1/health") + garbage, finish=True)
    assert replies[0].status == 200 and replies[0].json["status"] == "ok"
    assert all(400 <= reply.status < 500 for reply in replies[1:])


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_body_is_no_second_request(wire, client, method):
    job = client.wait(train(client).id, JOB_S)
    smuggled = wire.head("DELETE", f"/v1/jobs/{job.id}")
    path = "/v1/health" if method == "GET" else "/v1/jobs/0123456789abcdef"
    first = wire.head(method, path, f"Content-Length: {len(smuggled)}") + smuggled
    replies = wire.all(first + wire.head("GET", "/v1/models", "Connection: close"))
    assert len(replies) <= 2 and 204 not in [reply.status for reply in replies]
    assert client.job(job.id) == job


def test_a_refused_body_is_no_second_request(wire, client):
    """The body of a request that is answered before it was read must not be read as the next."""
    job = client.wait(train(client).id, JOB_S)
    smuggled = wire.head("DELETE", f"/v1/jobs/{job.id}", "Connection: close")
    length = f"Content-Length: {len(smuggled)}"
    for method, path, lines in (
        ("POST", "/v1/none", []),
        ("PUT", "/v1/jobs", []),
        ("POST", "/v1/jobs", ["Content-Type: text/plain"]),
        ("POST", "/v1/jobs", ["Content-Type: application/json", "Content-Encoding: gzip"]),
        ("POST", "/v1/jobs", ["Content-Type: application/json", "Origin: http://evil.example"]),
        ("POST", "/v1/jobs", ["Content-Type: application/json", "Expect: 200-maybe"]),
    ):
        data = wire.head(method, path, length, *lines) + smuggled
        replies = wire.all(data, finish=True)
        assert [reply.status for reply in replies if reply.status < 400] == [], lines
    assert client.job(job.id) == job


@pytest.mark.parametrize("method", ["PROPFIND", "QUERY", "FOO", "get", "CONNECT", "X" * 100])
def test_a_method_that_is_none_is_refused(wire, method):
    reply = wire.ask(method, "/v1/jobs")
    assert reply.status in (400, 405)
    if reply.status == 405:
        allowed = {name.strip() for name in reply.headers["allow"].split(",")}
        assert allowed - {"HEAD"} == {"GET", "POST"}
    assert wire.ask(method, "/v1/none").status in (400, 404)


def test_a_head_has_no_body_and_opens_no_stream(wire, client):
    job = train(client, **LONG)
    for path in ("/v1/health", f"/v1/jobs/{job.id}/events", f"/v1/jobs/{job.id}/token"):
        replies = wire.all(wire.head("HEAD", path, "Connection: close"), method="HEAD")
        assert [reply.body for reply in replies] == [b""], path
        assert replies[0].headers.get("accept-ranges", "none") == "none"


@pytest.mark.parametrize("range", ["0-5", "-5", "0-1,3-4", "0-," * 500 + "0-", "9" * 30 + "-", "x"])
def test_parts_of_a_file_are_not_served(wire, client, range):
    """Many ranges in one request would make a large answer of a small file."""
    job = client.wait(train(client).id, JOB_S)
    for path in ("/v1/health", f"/v1/jobs/{job.id}/token", f"/v1/jobs/{job.id}/events"):
        assert wire.ask("GET", path, f"Range: bytes={range}").status == 200
    assert wire.ask("GET", f"/v1/jobs/{job.id}/token", f"Range: bytes={range}").body == (
        client.token(job.id)
    )


def test_a_header_does_not_change_the_method(wire, client):
    job = client.wait(train(client).id, JOB_S)
    for name in ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"):
        wire.ask("POST", f"/v1/jobs/{job.id}", f"{name}: DELETE")
        wire.ask("GET", f"/v1/jobs/{job.id}", f"{name}: DELETE")
    wire.ask("GET", f"/v1/jobs/{job.id}?_method=DELETE")
    assert client.job(job.id) == job
