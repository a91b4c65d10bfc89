"""The life of jobs, through the client: what is learned is what the engine learns without it."""

from __future__ import annotations

import io
import json
import re
import shutil
import threading
import time

import pytest
import zoodip
from make_checkpoint import write_diffusers_folder
from PIL import Image
from safetensors.torch import load, load_file
from server import (
    FOLDER,
    JOB_S,
    LONG,
    MODEL,
    QUICK,
    check_events,
    has_stepped,
    train,
    wait_for,
)
from sound import WORKS, metadata, numbers, refusal
from wire import form, part
from zoodip.client import ApiError, Event

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


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


def subjects(*words: str) -> list[dict[str, str]]:
    return [{"images": FOLDER, "word": word, "init": "dog"} for word in words]


def test_subjects_are_learned_together_each_as_it_would_be_alone(client, material, learn):
    words = ("sks", "zwx", "ohwx")
    jobs = client.train_together(MODEL, subjects(*words), **QUICK)
    assert [job.word for job in jobs] == list(words)
    assert len({job.group for job in jobs}) == 1 and jobs[0].group
    for job in jobs:
        done = client.wait(job.id, JOB_S)
        assert (done.state, done.step, done.group) == ("finished", 12, jobs[0].group)
        assert client.token(job.id) == learn(material.images / FOLDER, job.word)
    assert train(client).group is None


def test_further_words_of_the_captions_have_tokens_of_their_own(client, material, tmp_path):
    chosen = QUICK | {"caption": "a photo of {sks} beside {zwx}"}
    job = client.train(MODEL, material.pictures(), "sks", "dog", also={"zwx": "cat"}, **chosen)
    assert job.also == {"zwx": "cat"}
    done = client.wait(job.id, JOB_S)
    assert (done.state, done.message) == ("finished", "")
    out = tmp_path / "sks.safetensors"
    zoodip.train(
        material.model, material.images / "plain", "sks", "dog", out, also={"zwx": "cat"}, **chosen
    )
    for word in ("sks", "zwx"):
        path = client.save_token(job.id, tmp_path / f"sent-{word}.safetensors", word)
        learned, engine = numbers(path.read_bytes()), (tmp_path / f"{word}.safetensors")
        assert learned == numbers(engine.read_bytes())
        assert metadata(path.read_bytes(), tmp_path)["word"] == word
    assert client.token(job.id) == client.token(job.id, "sks")
    with pytest.raises(ApiError, match="learns no word of that name"):
        client.token(job.id, "../sks")
    longer = client.wait(client.extend(job.id, 14).id, JOB_S)
    assert (longer.state, longer.step, longer.also) == ("finished", 14, {"zwx": "cat"})
    assert client.token(longer.id, "zwx") != client.token(job.id, "zwx")
    client.delete(job.id)


@pytest.mark.parametrize(
    ("also", "message"),
    [
        ({"zwx": ""}, "1 to 1000 bytes"),
        ({"zwx": 3}, "1 to 1000 bytes"),
        ({f"w{i}": "cat" for i in range(9)}, "at most 8 words"),
        (["zwx"], "needs an object"),
        ({"zwx": "cat"}, "has no caption"),
        ({"a/b": "cat"}, "cannot name"),
    ],
)
def test_further_words_that_cannot_be_are_refused(client, wire, also, message):
    body = {"model": MODEL, "images": FOLDER, "word": "sks", "init": "dog", "also": also}
    reply = wire.ask(
        "POST", "/v1/jobs", "Content-Type: application/json", body=json.dumps(body).encode()
    )
    assert reply.status == 422 and message in reply.json["detail"], reply.json
    assert client.jobs() == []


def test_one_of_several_subjects_is_stopped_and_the_others_go_on(client):
    jobs = client.train_together(MODEL, subjects("sks", "zwx", "ohwx"), **LONG)
    for job in jobs:
        has_stepped(client, job)
    client.stop(jobs[1].id)
    stopped = client.wait(jobs[1].id, JOB_S)
    assert stopped.state == "stopped" and stopped.token
    client.cancel(jobs[0].id)
    assert client.wait(jobs[0].id, JOB_S).state == "cancelled"
    left = client.job(jobs[2].id)
    assert left.state == "running"
    has_stepped(client, left, left.step + 1)
    client.cancel(left.id)
    assert client.wait(left.id, JOB_S).state == "cancelled"


def test_subjects_that_do_not_go_together_are_refused_and_none_is_queued(client):
    with pytest.raises(ApiError, match="two have the word 'sks'"):
        client.train_together(MODEL, subjects("sks", "sks"), **QUICK)
    with pytest.raises(ApiError, match="subject 'zwx': init"):
        wrong = [*subjects("sks"), {"images": FOLDER, "word": "zwx", "init": "qqqq"}]
        client.train_together(MODEL, wrong, **QUICK)
    assert client.jobs() == []


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


def test_a_finished_job_is_extended_by_another(client):
    """It ends as one of so many steps from the start; the one before stays as it is."""
    first = client.wait(train(client, **QUICK).id, JOB_S)
    word = client.token(first.id)
    more = QUICK["steps"] + 20
    second = client.extend(first.id, more)
    assert second.id != first.id and second.settings["steps"] == more
    done = client.wait(second.id, JOB_S)
    assert (done.state, done.step) == ("finished", more), done.message
    whole = client.wait(train(client, **QUICK | {"steps": more}).id, JOB_S)
    assert client.token(done.id) == client.token(whole.id)
    assert client.token(first.id) == word
    begun = [event.data["step"] for event in client.events(done.id) if event.name == "step"]
    assert min(begun) > QUICK["steps"]


def test_what_cannot_be_extended_is_refused_by_what_is_wrong(client):
    fixed = QUICK | {"learning_rate_schedule": "cosine"}
    job = client.wait(train(client, **fixed).id, JOB_S)
    for steps, says in ((QUICK["steps"] - 1, "at least as many"), (100, "falls over all of its")):
        with pytest.raises(ApiError, match=says) as refused:
            client.extend(job.id, steps)
        assert refused.value.status == 422
        assert ".new-" not in str(refused.value) and "/" not in str(refused.value)
    running = train(client, **LONG)
    has_stepped(client, running)
    with pytest.raises(ApiError, match="once it has ended") as refused:
        client.extend(running.id, 10**6)
    assert refused.value.status == 409
    client.cancel(running.id)
    client.wait(running.id, JOB_S)
    with pytest.raises(ApiError, match="kept nothing to go on from"):
        client.extend(running.id, 10**6)


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


def test_events_tell_everything_once(client):
    job = train(client, **(QUICK | {"preview_every": 5}))
    events = list(client.events(job.id))
    check_events(events)
    kinds = {"state", "stage", "note", "step", "validation", "preview"}
    assert {event.name for event in events} == kinds
    states = [event.data for event in events if event.name == "state"]
    assert [state["state"] for state in states] == ["queued", "running", "finished"]
    assert all(set(state) == {"state", "message"} for state in states)
    stages = [event.data for event in events if event.name == "stage"]
    assert all(set(stage) == {"stage"} and stage["stage"] for stage in stages)
    steps = [event.data for event in events if event.name == "step"]
    assert all(set(step) == {"step", "steps", "loss", "smooth_loss"} for step in steps)
    validations = [event.data for event in events if event.name == "validation"]
    assert all(set(each) == {"step", "loss", "best"} for each in validations)
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
