"""What may be asked for: settings, and errors that say what is wrong."""

from __future__ import annotations

import re

import pytest
import zoodip
from server import (
    JOB_S,
    LONG,
    MODEL,
    has_stepped,
    train,
)
from sound import WORKS, refusal
from wire import Wire
from zoodip.client import Client

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def test_the_schema_of_settings_is_the_engine_s_declaration(client):
    schema = client.settings()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert (schema["type"], schema["additionalProperties"]) == ("object", False)
    declared = {setting["name"]: setting for setting in zoodip.settings()}
    assert set(schema["properties"]) == set(declared)
    for name, told in schema["properties"].items():
        own = declared[name]
        assert (told["type"], told["default"]) == (own["type"], own["default"]), name
        assert told.get("minimum") == own.get("minimum"), name
        assert told.get("maximum") == own.get("maximum"), name
        assert told.get("enum") == own.get("choices"), name
        assert own["help"] in told["description"], name


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"stepz": 12}, "stepz"),
        ({"steps": -1}, "steps"),
        ({"steps": 1.5}, "steps"),
        ({"steps": "12"}, "steps"),
        ({"steps": None}, "steps"),
        ({"steps": [12]}, "steps"),
        ({"steps": 10**30}, "steps"),
        ({"learning_rate": 11}, "learning_rate"),
        ({"subspace": 1}, "subspace"),
        ({"method": "magic"}, "method"),
        ({"caption": "no place for it"}, "caption"),
        ([], "settings"),
        (None, "settings"),
        ("{}", "settings"),
    ],
    ids=str,
)
def test_settings_that_are_none_are_refused_before_they_are_queued(client, wire, settings, says):
    reply = wire.post(WORKS | {"settings": settings})
    assert reply.status == 422, reply.body
    assert says in reply.json["detail"]
    assert client.jobs() == []


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"model": "none.safetensors"}, 404),
        ({"images": "none"}, 404),
        ({"model": "noise"}, 404),
        ({"images": MODEL}, 404),
        ({"model": 1}, 422),
        ({"images": None}, 422),
        ({"word": ""}, 422),
        ({"word": ["sks"]}, 422),
        ({"init": "wobbly wobbly"}, 422),
        ({"init": ""}, 422),
        ({"out": "elsewhere"}, 422),
    ],
    ids=str,
)
def test_what_cannot_be_trained_is_refused(client, wire, change, status):
    reply = wire.post(WORKS | change)
    if change == {"init": "wobbly wobbly"} and reply.status == 202:
        done = client.wait(reply.json["id"], JOB_S)  # only the tokenizer knows that it is no word
        assert done.state == "failed" and "wobbly" in done.message
        return
    assert reply.status == status, reply.body
    assert str(next(iter(change))) in reply.json["detail"] or status == 404
    assert client.jobs() == []


@pytest.mark.parametrize("missing", ["model", "images", "word", "init"])
def test_what_is_required_is_named(client, wire, missing):
    reply = wire.post({name: value for name, value in WORKS.items() if name != missing})
    assert reply.status == 422 and missing in reply.json["detail"], reply.body
    assert client.jobs() == []


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/", 404, None),
        ("GET", "/v1", 404, None),
        ("GET", "/v1/job", 404, None),
        ("GET", "/v1/health/", 404, None),
        ("GET", "/v1/jobs/", 404, None),
        ("GET", "/v1/jobs/0123456789abcdef", 404, None),
        ("GET", "/v1/jobs/0123456789ABCDEF", 404, None),
        ("GET", "/v1/jobs/0123456789abcdef/token", 404, None),
        ("GET", "/v1/jobs/0123456789abcdef/events", 404, None),
        ("GET", "/v1/jobs/0123456789abcdef/previews/5", 404, None),
        ("POST", "/v1/jobs/0123456789abcdef/stop", 404, None),
        ("POST", "/v1/jobs/0123456789abcdef/cancel", 404, None),
        ("DELETE", "/v1/jobs/0123456789abcdef", 404, None),
        ("POST", "/v1/health", 405, {"GET"}),
        ("DELETE", "/v1/jobs", 405, {"GET", "POST"}),
        ("PUT", "/v1/jobs", 405, {"GET", "POST"}),
        ("POST", "/v1/jobs/0123456789abcdef", 405, {"GET", "DELETE"}),
        ("GET", "/v1/jobs/0123456789abcdef/stop", 405, {"POST"}),
        ("PATCH", "/v1/settings", 405, {"GET"}),
        ("OPTIONS", "/v1/jobs", 405, {"GET", "POST"}),
        ("TRACE", "/v1/health", 405, {"GET"}),
    ],
)
def test_errors_are_problems(wire, method, path, status, allow):
    reply = wire.ask(method, path)
    assert reply.status == status, reply.body
    assert reply.headers["content-type"] == "application/problem+json"
    problem = reply.json
    assert set(problem) == {"type", "title", "status", "detail"}
    assert problem["status"] == status and problem["title"] and problem["detail"]
    assert re.fullmatch(r"about:blank|/problems/[a-z][a-z0-9-]*", problem["type"])
    if allow is not None:
        told = {name.strip() for name in reply.headers["allow"].split(",")}
        assert told - {"HEAD"} == allow


def test_what_goes_well_is_json(client, wire):
    reply = wire.post(WORKS)
    assert reply.status == 202 and reply.headers["content-type"] == "application/json"
    assert reply.headers["location"] == f"/v1/jobs/{reply.json['id']}"
    client.wait(reply.json["id"], JOB_S)
    for path in ("health", "models", "settings", "jobs", f"jobs/{reply.json['id']}"):
        told = wire.ask("GET", f"/v1/{path}")
        assert told.status == 200 and told.headers["content-type"] == "application/json", path
    description = wire.ask("GET", "/openapi.json").json
    assert description["openapi"].startswith("3.1.")
    assert {"/v1/health", "/v1/jobs", "/v1/jobs/{id}"} <= set(description["paths"])
    gone = wire.ask("DELETE", f"/v1/jobs/{reply.json['id']}")
    assert (gone.status, gone.body) == (204, b"")


def test_a_full_queue_says_when_to_come_again(serve):
    server = serve("--queue", "2")
    client = server.client()
    first = has_stepped(client, train(client, **LONG))
    queued = [train(client), train(client)]
    error = refusal(train, client)
    assert error.status == 429 and error.retry_after >= 1
    reply = Wire(server.port).post(WORKS)
    assert reply.status == 429 and int(reply.headers["retry-after"]) == error.retry_after
    client.cancel(queued[0].id)
    train(client)
    assert refusal(train, client).status == 429
    assert len(client.jobs()) == 4 and client.job(first.id).state == "running"


def test_the_client_says_what_the_server_said(client):
    error = refusal(client.job, "0123456789abcdef")
    assert (error.status, error.retry_after) == (404, None)
    assert error.detail in str(error) and "404" in str(error)
    for wrong in ("", "../health", "a/b", "%00", "\u00e9"):
        assert refusal(client.job, wrong).status == 404


def test_without_a_server_there_is_an_error_of_the_network(serve):
    server = serve()
    client = server.client(timeout=1)
    job = train(client)
    server.stop()
    with pytest.raises(OSError):
        client.health()
    with pytest.raises(OSError):
        list(client.events(job.id))
    with pytest.raises(ValueError, match="url"):
        Client("127.0.0.1:8642")
