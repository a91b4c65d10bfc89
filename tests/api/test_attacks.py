"""What is sent to break in or to break it: each gets its answer, and the server goes on."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import socket
import struct
import subprocess
import threading
import time
import zlib
from pathlib import Path

import pytest
from server import FOLDER, JOB_S, LONG, MODEL, QUICK, START_S, Server, has_stepped, train, wait_for
from wire import Reply, Wire, form, has_closed, part
from zoodip.client import ApiError, Client

WORKS = {"model": MODEL, "images": FOLDER, "word": "sks", "init": "dog", "settings": QUICK}
MIB = 1 << 20


@pytest.fixture
def wire(server):
    """Bytes to the server; afterwards it must be well, and must not have failed in any answer."""
    wire = Wire(server.port)
    yield wire
    assert server.alive, f"it has ended: {server.process.returncode}"
    assert Wire(server.port).ask("GET", "/v1/health").json["status"] == "ok"
    failures = [reply for reply in wire.replies if reply.status >= 500]
    assert {reply.status for reply in failures} <= {503, 505, 507}, failures
    crossing = [
        name for reply in wire.replies for name in reply.headers if "access-control" in name
    ]
    assert crossing == []


def texts(**change: str) -> list[bytes]:
    """The parts of a form that works, pictures apart."""
    values = {"model": MODEL, "word": "sks", "init": "dog", "settings": json.dumps(QUICK)}
    return [part(f'name="{name}"', text.encode()) for name, text in (values | change).items()]


def picture(content: bytes, name: str = "a.png") -> bytes:
    return part(f'name="pictures"; filename="{name}"', content, "Content-Type: image/png")


# -------------------------------------------------------------------------------------------- paths


@pytest.fixture
def outside(material, tmp_path):
    """What lies beside the roots and must not be reached; the roots have links to it."""
    shutil.copy(material.model, material.models.parent / "secret.safetensors")
    shutil.copytree(material.images / FOLDER, material.images.parent / "private")
    links = {
        material.models / "link.safetensors": material.models.parent / "secret.safetensors",
        material.models / "linked": material.models.parent,
        material.images / "link": material.images.parent / "private",
        material.images / "linked": material.images.parent,
    }
    for link, target in links.items():
        link.symlink_to(target)
    yield material.models.parent
    for link in links:
        link.unlink()
    (material.models.parent / "secret.safetensors").unlink()
    shutil.rmtree(material.images.parent / "private")


def escapes(name: str, root: Path) -> list[str]:
    return [
        f"../{name}",
        f"sub/../../{name}",
        f"./../{name}",
        f"..\\{name}",
        f"%2e%2e/{name}",
        f"..%2f{name}",
        f"%252e%252e/{name}",
        f"..;/{name}",
        f"....//{name}",
        f".. /{name}",
        f"\u2025/{name}",
        f"/{name}",
        f"{root}/{name}",
        f"//{root}/{name}",
        f"file://{root}/{name}",
        f"~/{name}",
        f"{name}\0",
        f"../{name}\0.safetensors",
        "..",
        ".",
        "/",
        "",
        " ",
        "\0",
        "/dev/zero",
        "/proc/self/environ",
        "x" * 5000,
        "a/" * 2000,
    ]


@pytest.mark.parametrize(
    ("member", "name"), [("model", "secret.safetensors"), ("images", "private")]
)
def test_names_do_not_lead_out_of_the_roots(wire, client, outside, member, name):
    for wrong in [*escapes(name, outside), f"link{Path(name).suffix}", f"linked/{name}"]:
        reply = wire.post(WORKS | {member: wrong})
        assert reply.status in (404, 422), (wrong, reply)
        assert str(outside).encode() not in reply.body.replace(wrong.encode(), b""), reply
    assert client.jobs() == []
    assert not [model for model in client.models() if "secret" in model or "link" in model]


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd",
        "/v1/../../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/v1/jobs/..",
        "/v1/jobs/../health",
        "/v1/jobs/%2e%2e/health",
        "/v1/jobs/..%2fhealth",
        "/v1/jobs/ID/../ID",
        "/v1/jobs/ID/previews/../token",
        "/v1/jobs/ID/previews/%2e%2e%2ftoken",
        "/v1/jobs/ID/previews/..%5ctoken",
        "/v1/jobs/ID/token/../../../../etc/passwd",
        "/v1/jobs/ID%00/token",
        "/v1/jobs/ID/token%00.png",
        "/v1/jobs/%2f%65%74%63",
        "//v1/health",
        "/v1//health",
        "/v1/health%",
        "/v1/health%zz",
        "/v1/%68ealth%2f..",
        "/V1/HEALTH",
        "\\v1\\health",
        "/v1/jobs/\xff\xfe",
        "/v1/jobs/%ff%fe",
        "http://evil.example/v1/health",
        "evil.example:80",
        "*",
        "v1/health",
    ],
)
def test_addresses_do_not_lead_anywhere_else(wire, client, path):
    job = client.wait(train(client).id, JOB_S)
    reply = wire.ask("GET", path.replace("ID", job.id))
    assert 400 <= reply.status < 500, reply
    assert b"root:" not in reply.body and b"clip_l" not in reply.body


# -------------------------------------------------------------------------------------- other sites


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:PORT",
        "127.0.0.1.evil.example:PORT",
        "localhost.evil.example:PORT",
        "evil-localhost:PORT",
        "127.0.0.2:PORT",
        "0.0.0.0:PORT",
        "127.0.0.1:1",
        "127.0.0.1:PORT0",
        "127.0.0.1:PORT:PORT",
        "127.0.0.1:PORT@evil.example",
        "user@127.0.0.1:PORT",
        "127.0.0.1:PORT,evil.example",
        "127.0.0.1:PORT/evil",
        "[::2]:PORT",
        "[::1:PORT",
        "2130706433:PORT",
        "",
        " ",
    ],
)
def test_another_host_s_name_is_refused(wire, host):
    """Else a site could point its own name at this machine (DNS rebinding)."""
    for method in ("GET", "POST"):
        reply = wire.ask(method, "/v1/jobs", host=host.replace("PORT", str(wire.port)))
        assert reply.status in (400, 403), reply


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]"])
def test_this_host_s_names_are_taken(wire, name):
    assert wire.ask("GET", "/v1/health", host=f"{name}:{wire.port}").status == 200


@pytest.mark.parametrize(
    "line",
    [
        "Origin: http://evil.example",
        "Origin: https://evil.example:PORT",
        "Origin: http://localhost.evil.example:PORT",
        "Origin: http://127.0.0.1:1",
        "Origin: http://127.0.0.1:PORT.evil.example",
        "Origin: http://127.0.0.1:PORT@evil.example",
        "Origin: https://127.0.0.1:PORT",
        "Origin: null",
        "Origin: file://",
        "Origin: http://127.0.0.1:PORT http://evil.example",
        "Sec-Fetch-Site: cross-site",
        "Sec-Fetch-Site: same-site",
        "Sec-Fetch-Site: Cross-Site",
        "sec-fetch-site: anything",
    ],
)
def test_another_site_s_request_is_refused(wire, client, line):
    line = line.replace("PORT", str(wire.port))
    assert wire.ask("GET", "/v1/health", line).status == 403
    body = json.dumps(WORKS).encode()
    reply = wire.ask("POST", "/v1/jobs", line, "Content-Type: application/json", body=body)
    assert reply.status == 403
    assert client.jobs() == []


def test_this_site_s_requests_are_taken(wire):
    own = f"Origin: http://127.0.0.1:{wire.port}"
    for lines in ([own], ["Sec-Fetch-Site: same-origin", own], ["Sec-Fetch-Site: none"]):
        assert wire.ask("GET", "/v1/health", *lines).status == 200, lines


def test_a_preflight_gets_no_leave(wire):
    lines = ["Origin: http://evil.example", "Access-Control-Request-Method: POST"]
    reply = wire.ask("OPTIONS", "/v1/jobs", *lines)
    assert reply.status in (403, 405)


@pytest.mark.parametrize(
    "kind",
    [
        None,
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonp",
        "application/xml",
        "multipart/mixed; boundary=b",
        "json",
    ],
)
def test_what_a_page_may_send_without_asking_is_no_job(wire, client, kind):
    lines = [] if kind is None else [f"Content-Type: {kind}"]
    reply = wire.ask("POST", "/v1/jobs", *lines, body=json.dumps(WORKS).encode())
    assert reply.status == 415, reply
    assert client.jobs() == []


def test_json_may_name_its_characters(wire):
    for kind in ("application/json; charset=utf-8", "Application/JSON", "application/json;"):
        assert wire.post(WORKS, kind).status == 202, kind


# ------------------------------------------------------------------------------------------ bearers


def asks_for_the_token(server: Server, right: str) -> None:
    wire = Wire(server.port)
    wrong = [
        [],
        ["Authorization: Bearer"],
        ["Authorization: Bearer "],
        [f"Authorization: Bearer {right}x"],
        [f"Authorization: Bearer {right[:-1]}"],
        [f"Authorization: Bearer {right.upper()}"],
        [f"Authorization: Basic {right}"],
        [f"Authorization: {right}"],
        [f"Authorization: Bearer {right} {right}"],
        [f"Authorization: Bearer x{right}"],
        [f"Cookie: token={right}"],
        [f"X-Token: {right}"],
    ]
    for lines in wrong:
        reply = wire.ask("GET", "/v1/jobs", *lines)
        assert reply.status == 401, lines
        assert reply.headers["www-authenticate"].startswith("Bearer")
        assert right.encode() not in reply.body
    for path in ("health", "models", "settings", "jobs/0123456789abcdef", "nothing"):
        assert wire.ask("GET", f"/v1/{path}").status == 401, path
    assert wire.ask("GET", f"/v1/health?token={right}").status == 401
    assert wire.ask("DELETE", "/v1/jobs/0123456789abcdef").status == 401
    assert wire.post(WORKS).status == 401
    assert wire.ask("GET", "/v1/health", f"Authorization: Bearer {right}").status == 200
    client = server.client(right)
    assert client.wait(train(client).id, JOB_S).state == "finished"
    assert right not in server.log_tail()


def test_a_token_from_a_file_is_asked_for(serve, tmp_path):
    file = tmp_path / "token"
    file.write_text("a-long-secret-of-letters\n")
    asks_for_the_token(serve("--token-file", str(file)), "a-long-secret-of-letters")


def test_a_token_from_the_environment_is_asked_for(serve):
    asks_for_the_token(serve(ZOODIP_TOKEN="another-secret-of-letters"), "another-secret-of-letters")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_others_are_not_let_in_without_a_token(material, tmp_path, host):
    server = Server(material, tmp_path, "--host", host)
    result = subprocess.run(
        server.command(),
        env=server.environment(),
        capture_output=True,
        text=True,
        timeout=START_S,
    )
    assert result.returncode in (1, 2) and result.stdout == "", result
    assert "token" in result.stderr


def test_others_are_let_in_with_one(serve):
    server = serve("--host", "0.0.0.0", ZOODIP_TOKEN="another-secret-of-letters")
    assert server.client("another-secret-of-letters").health()["status"] == "ok"
    with pytest.raises(ApiError) as refused:
        server.client("a-wrong-secret-of-letters").health()
    assert refused.value.status == 401


@pytest.mark.parametrize("content", [None, "", "\n", "two words", "line\nline"])
def test_a_token_that_is_none_is_refused_at_the_start(material, tmp_path, content):
    file = tmp_path / "token"
    if content is not None:
        file.write_text(content)
    server = Server(material, tmp_path, "--token-file", str(file))
    result = subprocess.run(
        server.command(),
        env=server.environment(),
        capture_output=True,
        text=True,
        timeout=START_S,
    )
    assert result.returncode in (1, 2) and result.stdout == "", result
    assert "token" in result.stderr


# ---------------------------------------------------------------------------------------- too large


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
    ],
    ids=["empty", "text", "gif", "svg", "cut", "jpeg", "webp", "bomb", "wide", "none"],
)
def test_what_is_no_picture_is_refused_or_fails(wire, client, content):
    reply = wire.post(form(*texts(), picture(content)), "multipart/form-data; boundary=b")
    if reply.status == 202:
        job = client.wait(reply.json["id"], JOB_S)
        assert job.state == "failed" and job.message, job
    else:
        assert reply.status in (400, 413, 415, 422), reply


# ---------------------------------------------------------------------------------- malformed heads


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


# ------------------------------------------------------------------------------ several in one line


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


# ------------------------------------------------------------------------------------ bodies: forms


FORMS = {
    "nothing": b"",
    "no_boundary_in_it": b"just text",
    "only_its_end": b"--b--\r\n",
    "no_end": form(*texts())[: -len(b"--b--\r\n")],
    "cut_in_the_end": form(*texts())[:-4],
    "cut_in_a_part": form(*texts(), picture(b"x" * 100))[:-60],
    "no_blank_line": b'--b\r\nContent-Disposition: form-data; name="model"\r\n--b--\r\n',
    "no_head": b"--b\r\n\r\ntext\r\n--b--\r\n",
    "no_name": form(*texts(), part('filename="a.png"', b"x")),
    "empty_name": form(*texts(), part('name=""', b"x")),
    "no_disposition": b"--b\r\nContent-Type: text/plain\r\n\r\nx\r\n--b--\r\n",
    "attachment": form(b'Content-Disposition: attachment; name="model"\r\n\r\nx'),
    "unclosed_quote": form(*texts(), part('name="pictures', b"x")),
    "head_of_100_kB": form(*texts(), part('name="pictures"', b"x", "X-Long: " + "x" * 100_000)),
    "name_of_100_kB": form(*texts(), part(f'name="{"x" * 100_000}"', b"x")),
    "file_name_of_100_kB": form(*texts(), picture(b"x", "x" * 100_000)),
    "head_of_many_lines": form(part('name="model"', b"x", *[f"X-{i}: x" for i in range(5000)])),
    "head_without_end": b"--b\r\n" + b"x" * 200_000,
    "bare_line_feeds": form(*texts(), picture(b"x")).replace(b"\r\n", b"\n"),
    "nul_in_a_head": form(*texts(), part('name="pictures\0"', b"x")),
    "twice_the_same": form(*texts(), *texts(), picture(b"x")),
    "unknown_field": form(*texts(), part('name="other"', b"x"), picture(b"x")),
    "images_named": form(*texts(), part('name="images"', FOLDER.encode())),
    "boundary_doubled": b"--b--b\r\n" + form(*texts()),
    "word_not_utf8": form(
        *texts()[:1], part('name="word"', b"\xff\xfe"), *texts()[2:], picture(b"x")
    ),
    "settings_not_json": form(*texts(settings="{"), picture(b"x")),
    "settings_a_list": form(*texts(settings="[]"), picture(b"x")),
    "settings_deep": form(*texts(settings="[" * 100_000), picture(b"x")),
    "packed_part": form(
        *texts(), part('name="pictures"', b"eA==", "Content-Transfer-Encoding: base64")
    ),
    "a_file_as_text": form(
        *texts()[1:], part('name="model"; filename="m"', MODEL.encode()), picture(b"x")
    ),
    "text_as_a_file": form(*texts(), part('name="pictures"', b"x")),
    "parts_without_end": b"--b\r\n\r\n\r\n" * 100_000 + b"--b--\r\n",
}


@pytest.mark.parametrize("name", FORMS)
def test_malformed_forms_are_refused(wire, client, name):
    reply = wire.post(FORMS[name], "multipart/form-data; boundary=b")
    assert reply.status in (400, 413, 415, 422), reply
    assert reply.headers["content-type"] == "application/problem+json"
    assert len(reply.body) < 4096  # what was sent does not come back at length
    assert client.jobs() == []


@pytest.mark.parametrize(
    "kind",
    [
        "multipart/form-data",
        "multipart/form-data;",
        "multipart/form-data; boundary",
        "multipart/form-data; boundary=",
        'multipart/form-data; boundary=""',
        'multipart/form-data; boundary="b',
        "multipart/form-data; boundary=" + "b" * 71,
        "multipart/form-data; boundary=" + "b" * 7000,
        "multipart/form-data; boundary=a; boundary=b",
        "multipart/form-data; boundary=b\xff",
        "multipart/form-data; boundary=other",
        "multipart/form-data; notboundary=b",
    ],
    ids=lambda kind: kind[:60],
)
def test_a_boundary_that_is_none_is_refused(wire, client, kind):
    reply = wire.post(form(*texts(), picture(b"x")), kind)
    assert reply.status in (400, 415), reply
    assert client.jobs() == []


def test_a_quoted_boundary_is_taken(wire, material):
    body = form(*texts(), picture(material.pictures()[0].read_bytes()), boundary="b :'()+_,-./=?c")
    assert wire.post(body, 'multipart/form-data; boundary="b :\'()+_,-./=?c"').status == 202


@pytest.mark.parametrize(
    "name",
    [
        "../../../escaped.png",
        "/escaped.png",
        "..\\escaped.png",
        "a%0D%0AX-Evil: 1.png",
        "a\tb.png",
        ".hidden.png",
        "a.png/",
        "caption.txt",
        "word.state.safetensors",
        "CON.png",
        "x" * 4000 + ".png",
        "\udcff\udcfe.png",
        "",
    ],
    ids=lambda name: ascii(name[:30]),
)
def test_a_file_s_name_does_not_decide_where_it_is_written(wire, client, server, material, name):
    before = {path for path in server.jobs.parent.iterdir()}
    reply = wire.post(
        form(*texts(), picture(material.pictures()[0].read_bytes(), name)),
        "multipart/form-data; boundary=b",
    )
    assert reply.status in (202, 400, 413, 422), reply
    assert "x-evil" not in reply.headers
    if reply.status == 202:
        assert client.wait(reply.json["id"], JOB_S).state == "finished"
    assert not [path for path in server.jobs.parent.rglob("*escaped*") if path.is_file()]
    assert {path for path in server.jobs.parent.iterdir()} == before
    written = [path for path in server.jobs.rglob("*") if path.name in (name, "caption.txt")]
    assert written == []


# ------------------------------------------------------------------------------------- bodies: JSON


TEXTS = {
    "nothing": b"",
    "space": b"  ",
    "half": b'{"model": ',
    "list": b"[]",
    "number": b"1",
    "null": b"null",
    "two": b"{}{}",
    "comma": json.dumps(WORKS).encode()[:-1] + b",}",
    "comment": b"/* */" + json.dumps(WORKS).encode(),
    "nan": json.dumps(WORKS).encode().replace(b"12", b"NaN"),
    "infinity": json.dumps(WORKS).encode().replace(b"12", b"1e999"),
    "single_quotes": b"{'model': 'x'}",
    "not_utf8": json.dumps(WORKS).encode().replace(b"sks", b"sk\xff"),
    "overlong": json.dumps(WORKS).encode().replace(b"sks", b"sk\xc0\xaf"),
    "surrogate_bytes": json.dumps(WORKS).encode().replace(b"sks", b"sk\xed\xa0\x80"),
    "lone_surrogate": json.dumps(WORKS).encode().replace(b"sks", b"sk\\ud800"),
    "utf16": json.dumps(WORKS).encode("utf-16"),
    "nul": json.dumps(WORKS).encode() + b"\0",
    "nul_and_more": json.dumps(WORKS).encode() + b"\0{}",
    "control": json.dumps(WORKS).encode().replace(b"sks", b"s\nks"),
    "deep_lists": b"[" * 100_000,
    "deep_and_whole": b"[" * 100_000 + b"]" * 100_000,
    "deep_objects": b'{"a":' * 100_000,
    "deep_within": json.dumps(WORKS).encode()[:-1] + b', "a": ' + b"[" * 100 + b"]" * 100 + b"}",
    "many_members": json.dumps({str(i): i for i in range(60_000)}).encode(),
    "long_number": json.dumps(WORKS).encode().replace(b"12", b"1" * 500_000),
}


@pytest.mark.parametrize("name", TEXTS)
def test_what_is_no_job_in_json_is_refused(wire, client, name):
    reply = wire.post(TEXTS[name])
    assert reply.status in (400, 422), reply
    if name in (
        "nothing",
        "half",
        "two",
        "not_utf8",
        "deep_lists",
        "deep_and_whole",
        "deep_objects",
    ):
        assert reply.status == 400
    assert reply.headers["content-type"] == "application/problem+json"
    assert len(reply.body) < 4096
    assert client.jobs() == []


# ------------------------------------------------------------------------------------------ headers


@pytest.mark.parametrize(
    "word",
    [
        "sks\r\nX-Evil: 1",
        "sks\nX-Evil: 1",
        'sks"; filename="evil.exe',
        "sks\\",
        "../../sks",
        "sks/sks",
        "sks\0",
        "sks\u2028",
        "caf\u00e9",
        "\U0001f436",
        "\u202egnp.sks",
        "-rf",
        "x" * 300,
        "x" * 100_000,
        ".",
        "..",
    ],
    ids=lambda word: ascii(word[:20]),
)
def test_a_word_adds_no_header_and_names_no_other_place(wire, client, server, word):
    before = {path for path in server.jobs.parent.iterdir()}
    reply = wire.post(WORKS | {"word": word})
    assert reply.status in (202, 400, 422), reply
    assert "x-evil" not in reply.headers
    if reply.status == 202:
        job = client.wait(reply.json["id"], JOB_S)
        assert job.state in ("finished", "failed") and job.word == word
        if job.token:
            told = wire.ask("GET", f"/v1/jobs/{job.id}/token")
            assert told.status == 200 and "x-evil" not in told.headers
            disposition = told.headers["content-disposition"]
            assert disposition.count("filename=") == 1 and "/" not in disposition.split(";")[1]
            assert disposition.isascii() and disposition.isprintable()
    assert {path for path in server.jobs.parent.iterdir()} == before


@pytest.mark.parametrize(
    "path", ["/v1/jobs/%0d%0aX-Evil:%201", "/v1/none?a=%0d%0aX-Evil:%201", "/%0d%0aX-Evil:%201"]
)
def test_an_address_adds_no_header(wire, path):
    reply = wire.ask("GET", path)
    assert reply.status == 404 and "x-evil" not in reply.headers
    assert b"\nX-Evil" not in reply.body


# ------------------------------------------------------------------------------------ many and slow


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


# ------------------------------------------------------------------------------------------- chance


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
