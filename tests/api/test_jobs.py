"""The life of jobs, through the client: what is learned is what the engine learns without it."""

from __future__ import annotations

import io
import json
import re
import shutil
import signal
import subprocess
import threading
import time
from dataclasses import fields
from datetime import datetime
from pathlib import Path

import pytest
import zoodip
from make_checkpoint import write_diffusers_folder
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load, load_file
from server import (
    FOLDER,
    JOB_S,
    LONG,
    MODEL,
    QUICK,
    START_S,
    Server,
    check_events,
    has_stepped,
    train,
    wait_for,
)
from wire import Wire, form, has_closed, part
from zoodip.client import ApiError, Client, Event, Job

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
WORKS = {"model": MODEL, "images": FOLDER, "word": "sks", "init": "dog", "settings": QUICK}


@pytest.fixture
def wire(server) -> Wire:
    return Wire(server.port)


@pytest.fixture
def learn(material, tmp_path):
    """The token that the engine learns without a server."""

    def call(images: Path | None = None, word: str = "sks", **settings) -> bytes:
        out = tmp_path / "reference.safetensors"
        folder = images or material.images / FOLDER
        zoodip.train(
            material.model, folder, word, "dog", out, overwrite=True, **(settings or QUICK)
        )
        return out.read_bytes()

    return call


def metadata(token: bytes, folder: Path) -> dict[str, str]:
    path = folder / "read.safetensors"
    path.write_bytes(token)
    with safe_open(path, "pt") as file:
        return file.metadata()


def numbers(token: bytes) -> bytes:
    return load(token)["clip_l"].numpy().tobytes()


def refusal(call, *arguments, **more) -> ApiError:
    with pytest.raises(ApiError) as refused:
        call(*arguments, **more)
    assert refused.value.title and refused.value.detail
    return refused.value


# ------------------------------------------------------------------------------------------ trained


def test_a_folder_s_job_ends_with_the_word_that_the_engine_learns(client, learn):
    job = train(client)
    assert re.fullmatch("[0-9a-f]{16}", job.id)
    assert (job.state, job.origin) in [("queued", "api"), ("running", "api")]
    assert (job.model, job.images, job.word, job.init) == (MODEL, FOLDER, "sks", "dog")
    assert job.settings == QUICK and not job.token
    done = client.wait(job.id, JOB_S)
    assert (done.state, done.step, done.steps, done.message) == ("finished", 12, 12, "")
    assert done.token and done.position is None
    assert done.loss > 0 and done.smooth_loss > 0
    assert all(TIME.fullmatch(told) for told in (done.created, done.started, done.ended))
    assert done.created <= done.started <= done.ended
    assert client.token(job.id) == learn()


def test_sent_pictures_are_learned_from_as_those_of_a_folder(client, material, learn):
    job = client.train(MODEL, material.pictures(), "zwx", "dog", **QUICK)
    assert job.images is None
    assert client.wait(job.id, JOB_S).state == "finished"
    alone = learn(material.images / "plain", "zwx")
    assert numbers(client.token(job.id)) == numbers(alone)


def test_sent_pictures_without_settings_have_the_defaults(client, material):
    job = client.train(MODEL, material.images / "plain", "zwx", "dog")
    assert job.settings == {}
    client.cancel(job.id)
    assert client.wait(job.id, JOB_S).state == "cancelled"


def test_a_sent_picture_s_name_may_be_anything(client, material, wire, learn):
    content = [path.read_bytes() for path in material.pictures()]
    # In the order in which they are sent, as the engine takes those of a folder by name.
    names = ["z.png", 'a "quoted" caf\u00e9.png', "../../up.jpg"]
    parts = [part(f'name="{name}"', WORKS[name].encode()) for name in ("model", "word", "init")]
    parts.append(part('name="settings"', json.dumps(QUICK).encode()))
    parts += [
        part(f'name="pictures"; filename="{name}"', one, "Content-Type: image/png")
        for name, one in zip(names, content, strict=True)
    ]
    reply = wire.post(form(*parts), "multipart/form-data; boundary=b")
    assert reply.status == 202, reply.body
    assert client.wait(reply.json["id"], JOB_S).state == "finished"
    alone = learn(material.images / "plain")
    assert numbers(client.token(reply.json["id"])) == numbers(alone)


def test_models_are_named_by_their_paths_below_the_roots(serve, material, tmp_path):
    other = tmp_path / "other"
    write_diffusers_folder(other / "sets" / "folder", "tiny-taesd", seed=3)
    shutil.copy(material.model, other / "second.safetensors")
    (other / "read me.txt").write_text("no model")
    client = serve("--models", str(other)).client()
    expected = {MODEL, "sub/deep.safetensors", "sets/folder", "second.safetensors"}
    assert set(client.models()) == expected
    for name in ("sub/deep.safetensors", "sets/folder"):
        job = client.train(name, FOLDER, "sks", "dog", **QUICK)
        assert client.wait(job.id, JOB_S).state == "finished", name


def test_jobs_are_done_in_the_order_in_which_they_came(client):
    first = train(client, **LONG)
    has_stepped(client, first)
    others = [train(client, f"word{i}", **QUICK) for i in range(3)]
    assert [client.job(job.id).position for job in others] == [0, 1, 2]
    assert [job.id for job in client.jobs()] == [job.id for job in [*others[::-1], first]]
    health = client.health()
    assert (health["status"], health["queued"], health["running"]) == ("ok", 3, 1)
    assert health["version"] == zoodip.__version__
    client.cancel(first.id)
    done = [client.wait(job.id, JOB_S) for job in others]
    assert [job.state for job in done] == ["finished"] * 3
    for earlier, later in zip(done, done[1:], strict=False):
        assert earlier.ended <= later.started
    health = client.health()
    assert (health["queued"], health["running"]) == (0, 0)


def test_a_model_that_is_none_fails_and_the_next_is_done(client, material):
    broken = material.models / "broken.safetensors"
    broken.write_bytes(b"\x10\0\0\0\0\0\0\0{}              ")
    try:
        try:
            job = client.train(broken.name, FOLDER, "sks", "dog", **QUICK)
        except ApiError as error:
            assert error.status == 422 and "broken.safetensors" in error.detail
        else:
            job = client.wait(job.id, JOB_S)
            assert job.state == "failed" and "broken.safetensors" in job.message
            assert not job.token
        assert client.wait(train(client).id, JOB_S).state == "finished"
    finally:
        broken.unlink()


def test_a_training_that_diverges_fails_and_says_so(client):
    job = train(client, **(QUICK | {"steps": 10_000, "divergence": 1.01, "learning_rate": 0.1}))
    job = client.wait(job.id, JOB_S)
    assert job.state == "failed" and "diverges" in job.message
    assert 0 < job.step < 10_000


# ------------------------------------------------------------------------------------------- events


def test_events_tell_everything_once(client):
    job = train(client, **(QUICK | {"preview_every": 5}))
    events = list(client.events(job.id))
    check_events(events)
    assert {event.name for event in events} == {"state", "stage", "step", "preview"}
    states = [event.data for event in events if event.name == "state"]
    assert [state["state"] for state in states] == ["queued", "running", "finished"]
    assert all(set(state) == {"state", "message"} for state in states)
    stages = [event.data for event in events if event.name == "stage"]
    assert all(set(stage) == {"stage"} and stage["stage"] for stage in stages)
    steps = [event.data for event in events if event.name == "step"]
    assert all(set(step) == {"step", "steps", "loss", "smooth_loss"} for step in steps)
    done = client.job(job.id)
    last = {"step": 12, "steps": 12, "loss": done.loss, "smooth_loss": done.smooth_loss}
    assert steps[-1] == last
    assert list(client.events(job.id)) == events
    for after in (1, len(events) // 2, len(events) - 1, len(events)):
        assert list(client.events(job.id, after)) == events[after:]


def test_events_come_while_it_trains_at_most_one_step_a_second(client):
    job = train(client, **LONG)
    moments = []
    for event in client.events(job.id):
        if event.name == "step":
            moments.append((time.monotonic(), event.data["step"]))
        if len(moments) == 4:
            client.stop(job.id)
            break
    assert [step for _, step in moments] == sorted({step for _, step in moments})
    # The first may come late, and so nearer to the second.
    assert moments[-1][0] - moments[1][0] > 1.5


def test_many_may_listen(client):
    first = train(client, **LONG)
    job = train(client)
    heard: list[list[Event]] = [[] for _ in range(8)]
    threads = [
        threading.Thread(target=lambda into=into: into.extend(client.events(job.id)))
        for into in heard
    ]
    for thread in threads:
        thread.start()
    client.cancel(first.id)
    for thread in threads:
        thread.join(JOB_S)
    check_events(heard[0])
    assert all(one == heard[0] for one in heard)


@pytest.mark.parametrize("last", ["", "-1", "x", "1.5", "+1", "0x1", "1e3", "9" * 40, "1 2"])
def test_a_last_event_that_is_no_number_is_refused(client, wire, last):
    job = client.wait(train(client).id, JOB_S)
    reply = wire.ask("GET", f"/v1/jobs/{job.id}/events", f"Last-Event-ID: {last}")
    assert reply.status == 400, reply.body


def test_the_stream_is_one_of_server_sent_events(client, wire):
    job = client.wait(train(client).id, JOB_S)
    reply = wire.ask("GET", f"/v1/jobs/{job.id}/events")
    assert reply.status == 200
    assert reply.headers["content-type"].split(";")[0] == "text/event-stream"
    assert (
        "no-store" in reply.headers["cache-control"] or "no-cache" in reply.headers["cache-control"]
    )
    blocks = [block for block in reply.body.decode().split("\n\n") if block]
    blocks = [block for block in blocks if not block.startswith(":")]
    for number, block in enumerate(blocks, 1):
        lines = [line for line in block.split("\n") if not line.startswith(":")]
        assert [line.split(": ")[0] for line in lines] == ["id", "event", "data"], block
        assert lines[0] == f"id: {number}"
        json.loads(lines[2].removeprefix("data: "))


# --------------------------------------------------------------------------------- stopped, deleted


def test_stop_keeps_the_word_so_far(client, tmp_path):
    job = has_stepped(client, train(client, **LONG))
    assert refusal(client.token, job.id).status == 409
    assert refusal(client.delete, job.id).status == 409
    assert client.stop(job.id).id == job.id
    done = client.wait(job.id, JOB_S)
    assert done.state == "stopped" and done.token and 0 < done.step < done.steps == 1_000_000
    token = client.token(job.id)
    assert metadata(token, tmp_path)["step"] == str(done.step)
    assert load(token)["clip_l"].isfinite().all()
    check_events(list(client.events(job.id)))


def test_cancel_keeps_nothing(client):
    job = has_stepped(client, train(client, **LONG), step=20)  # it has been written by then
    client.cancel(job.id)
    done = client.wait(job.id, JOB_S)
    assert (done.state, done.token) == ("cancelled", False)
    assert refusal(client.token, job.id).status == 409
    check_events(list(client.events(job.id)))


@pytest.mark.parametrize("way", ["stop", "cancel"])
def test_a_queued_job_is_cancelled_at_once(client, way):
    first = train(client, **LONG)
    has_stepped(client, first)
    second, third = train(client), train(client)
    assert refusal(client.delete, second.id).status == 409
    getattr(client, way)(second.id)
    done = client.wait(second.id, 5)
    assert (done.state, done.step, done.token, done.started) == ("cancelled", 0, False, None)
    assert client.job(third.id).position == 0
    states = [e.data["state"] for e in client.events(second.id) if e.name == "state"]
    assert states == ["queued", "cancelled"]


def test_what_has_ended_cannot_be_ended_again(client):
    job = client.wait(train(client).id, JOB_S)
    for call in (client.stop, client.cancel):
        assert refusal(call, job.id).status == 409
    assert client.job(job.id) == job


def test_a_deleted_job_is_gone_with_its_files(client, server):
    kept = client.wait(train(client).id, JOB_S)
    job = client.wait(train(client, **(QUICK | {"preview_every": 5})).id, JOB_S)
    assert list(server.jobs.rglob(f"*{job.id}*"))
    client.delete(job.id)
    assert client.jobs() == [kept]
    for call in (client.job, client.token, client.stop, client.cancel, client.delete):
        assert refusal(call, job.id).status == 404
    assert refusal(client.preview, job.id, 5).status == 404
    assert refusal(lambda id: list(client.events(id)), job.id).status == 404
    wait_for(lambda: not list(server.jobs.rglob(f"*{job.id}*")), 5, "its files to be gone")


def test_only_so_many_jobs_are_kept(serve):
    client = serve("--keep", "2").client()
    jobs = []
    for i in range(4):
        jobs.append(train(client, f"word{i}", **QUICK))
        client.wait(jobs[-1].id, JOB_S)
    newest = [job.id for job in jobs[:1:-1]]
    wait_for(lambda: [job.id for job in client.jobs()] == newest, 10, "the oldest to be forgotten")


# ------------------------------------------------------------------------------ tokens and previews


def test_a_token_is_saved_whole_or_not_at_all(client, tmp_path):
    job = client.wait(train(client).id, JOB_S)
    folder = tmp_path / "words"
    folder.mkdir()
    assert client.save_token(job.id, folder / "sks.safetensors") == folder / "sks.safetensors"
    assert set(load_file(folder / "sks.safetensors")) == {"clip_l"}
    assert refusal(client.save_token, "0" * 16, folder / "none.safetensors").status == 404
    (folder / "taken").mkdir()
    with pytest.raises(OSError):
        client.save_token(job.id, folder / "taken")
    assert sorted(path.name for path in folder.iterdir()) == ["sks.safetensors", "taken"]


def test_a_token_comes_as_a_file_of_its_word_s_name(client, wire):
    job = client.wait(train(client, "zwx").id, JOB_S)
    reply = wire.ask("GET", f"/v1/jobs/{job.id}/token")
    assert reply.headers["content-type"] == "application/octet-stream"
    assert reply.headers["content-disposition"] == 'attachment; filename="zwx.safetensors"'
    assert reply.headers["content-length"] == str(len(reply.body))
    assert reply.body == client.token(job.id)


def test_previews_are_pictures_of_their_steps(client, wire):
    job = client.wait(train(client, **(QUICK | {"preview_every": 5})).id, JOB_S)
    told = [event.data for event in client.events(job.id) if event.name == "preview"]
    address = f"/v1/jobs/{job.id}/previews/"
    assert told == [{"step": step, "url": f"{address}{step}"} for step in (5, 10)]
    drawn = [client.preview(job.id, step) for step in (5, 10)]
    assert drawn[0] != drawn[1]
    assert [Image.open(io.BytesIO(one)).size for one in drawn] == [(64, 64)] * 2
    assert wire.ask("GET", told[0]["url"]).headers["content-type"] == "image/png"
    for wrong in ("0", "6", "-5", "5.0", "+5", "5x", "9" * 30, ""):
        assert wire.ask("GET", address + wrong).status == 404, wrong


# ----------------------------------------------------------------------------------------- settings


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


# ------------------------------------------------------------------------------------------- errors


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


# --------------------------------------------------------------------------------------- start, end


def test_one_folder_of_jobs_has_one_server(serve):
    server = serve()
    other = Server(server.material, server.jobs.parent)
    second = subprocess.run(
        other.command(),
        env=server.environment(),
        capture_output=True,
        text=True,
        timeout=START_S,
    )
    assert second.returncode in (1, 2) and second.stdout == ""
    assert str(server.jobs) in second.stderr
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
