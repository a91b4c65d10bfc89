"""Who is let in: not other sites' pages, not other machines without the token."""

from __future__ import annotations

import json

import pytest
from server import JOB_S, Server, train
from sound import WORKS
from wire import Wire
from zoodip.client import ApiError


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
    assert "token" in server.refusal()


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
    assert "token" in server.refusal()
