"""Trainings by the real engine under a stand-in for ComfyUI: kept, stopped, interrupted, reused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import urllib.request
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from comfyui_zoodip.demo import model_file
from comfyui_zoodip.node.native import graph, zoodip
from comfyui_zoodip.node.settings import declared
from comfyui_zoodip.node.token import read_token
from trainings import (
    ENDLESS,
    NODE,
    STEPS,
    WORKFLOW,
    FakeHost,
    Interruption,
    about,
    at_step,
    chosen,
    ids,
    in_training,
)

LONG = 120


@pytest.fixture
def unbroken(make_house):
    """The same training, made in one go elsewhere."""
    return lambda training: make_house("unbroken").learn(training)


def same(one, other):
    return torch.equal(one.token.vectors["clip_l"], other.token.vectors["clip_l"])


# A training ends, and is not done twice.


def test_a_training_ends_with_its_word_and_is_not_done_twice(wanted, house):
    host = FakeHost()
    learned = house.learn(wanted, host)
    assert learned.finished
    assert (learned.steps, len(learned.losses)) == (STEPS, STEPS)
    assert learned.token.word == "sks"
    assert house.states == ["running", "queued", "finished"]  # it waits once its key is known
    assert [call[0] for call in host.calls] == ["free", "back"]
    assert host.calls[0][1] > 10_000_000  # bytes
    shown = house.shown()
    assert (shown["state"], shown["reused"], len(shown["points"])) == ("finished", False, STEPS)
    assert shown["graph"] == {
        "node": NODE,
        "workflow": WORKFLOW,
        "prompt": "prompt",
        "preview_percent": 0.0,
    }
    assert house.get("/v1/health")["running"] == 0

    again = FakeHost()
    known = house.learn(wanted, again)
    assert (house.last["state"], house.last["reused"]) == ("finished", True)
    assert house.last["message"] == "Learned before with the same inputs: taken from the store."
    assert again.calls == []  # nothing was trained
    assert same(learned, known)
    assert known.losses == learned.losses
    assert (known.steps, known.finished) == (STEPS, True)


def test_it_is_known_to_the_next_process_and_shown_by_every_node_that_took_it(wanted, make_house):
    house = make_house()
    learned = house.learn(wanted)
    house.ends()
    house = make_house()
    assert house.shown()["state"] == "finished" and not house.shown()["reused"]
    assert same(house.learn(wanted, node="8"), learned)
    assert house.last["reused"]
    assert house.shown("8")["id"] == house.shown()["id"]


def test_every_point_of_the_curve_reaches_the_page(wanted, house):
    learned = house.learn(wanted)
    points = [point for event in house.events for point in event["points"]]
    assert [step for step, *_ in points] == list(range(1, STEPS + 1))
    assert [loss for _, loss, _ in points] == learned.losses
    assert points == house.shown()["points"]
    # A page that comes back has them in one go.
    house.learn(wanted)
    assert house.last["points"] == points


def test_stop_and_keep_goes_on_with_the_same_bits(wanted, house, unbroken):
    long = chosen(wanted, steps=LONG)
    kept = house.learn(long, FakeHost(at_step(1, lambda _: house.stop())))
    assert not kept.finished
    assert 1 <= kept.steps < LONG
    assert house.last["state"] == "stopped"
    assert "stopping" in [event["stage"] for event in house.events]
    assert len(kept.losses) == kept.steps

    rest = house.learn(long)
    assert rest.finished
    assert len(rest.losses) == LONG
    assert house.gone_on_from() == kept.steps
    assert same(rest, unbroken(long))


# Scripts.


@pytest.fixture
def scripts(house):
    """Asks by HTTP on an address of its own."""
    service = house.jobs.service()
    service.serve(port=0)

    def ask(path, method="GET"):
        request = urllib.request.Request(service.url + path, method=method)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.read()

    return ask


def test_a_script_watches_a_training_stops_it_and_fetches_the_word(wanted, house, scripts):
    long = chosen(wanted, steps=ENDLESS)
    seen = []

    def stop(host):
        seen.extend(json.loads(scripts("/v1/jobs"))["jobs"])
        scripts(f"/v1/jobs/{seen[0]['id']}/stop", "POST")

    kept = house.learn(long, FakeHost(at_step(3, stop)))
    [running] = seen
    assert (running["state"], running["origin"]) == ("running", "graph")
    assert running["step"] >= 3
    assert running["steps"] == ENDLESS
    assert not kept.finished
    assert house.last["state"] == "stopped"
    [job] = json.loads(scripts("/v1/jobs"))["jobs"]
    assert (job["state"], job["step"], job["token"]) == ("stopped", kept.steps, True)
    token = scripts(f"/v1/jobs/{job['id']}/token")
    assert token == house.token_path(job["id"]).read_bytes()
    house.token_path(job["id"]).unlink()
    status, answer = house.ask(f"/v1/jobs/{job['id']}/token")
    assert (status, answer["detail"]) == (409, f"job {job['id']} is stopped and has no token")


def test_a_script_cancels_a_training(wanted, house, scripts):
    long = chosen(wanted, steps=ENDLESS)

    def cancel(host):
        [job] = json.loads(scripts("/v1/jobs"))["jobs"]
        scripts(f"/v1/jobs/{job['id']}/cancel", "POST")

    with pytest.raises(Interruption):
        house.learn(long, FakeHost(at_step(1, cancel)))
    assert house.last["state"] == "cancelled"
    [job] = json.loads(scripts("/v1/jobs"))["jobs"]
    assert (job["state"], job["token"]) == ("cancelled", False)


def test_a_training_waits_for_another_and_its_wait_can_be_interrupted(wanted, house):
    waiting = []

    def interrupt(event):
        if event["stage"] == "waiting for another training":
            waiting.append(event)
            host.cancel()

    with in_training(house, chosen(wanted, steps=ENDLESS, seed=5)):
        host = FakeHost()
        house.on_event = interrupt
        with pytest.raises(Interruption):
            house.learn(wanted, host)
        ended = house.shown()
    assert waiting[0]["state"] == "queued"
    assert ended["state"] == "interrupted"
    assert "nothing was learned" in ended["message"]
    assert host.calls == []
    assert not house.token_path(ended["id"]).exists()
    house.on_event = lambda event: None
    assert house.learn(wanted).finished


def test_its_turn_comes_when_the_other_has_ended(wanted, house):
    turns = []
    with in_training(house, chosen(wanted, steps=ENDLESS, seed=5)):

        def stop_the_other(event):
            if event["stage"] == "waiting for another training":
                listed = house.get("/v1/jobs")["jobs"]
                turns.extend((job["state"], job["origin"]) for job in listed)
                # Not from here: who is told must not wait for who tells.
                threading.Thread(target=house.stop, args=("1",)).start()
                house.on_event = lambda event: None

        house.on_event = stop_the_other
        learned = house.learn(wanted)
        with pytest.raises(AssertionError, match="has ended"):
            house.stop("1")
        house.stop = lambda node: None  # which was stopped already
    assert turns == [("queued", "graph"), ("running", "graph")] and learned.finished


# Interruptions and failures.


@pytest.mark.parametrize("way", ["watched", "raised by the progress bar"])
def test_an_interrupted_run_is_kept_and_says_where(wanted, house, unbroken, way):
    def interrupt(host):
        if way == "watched":
            host.cancel()
        else:
            host.bar_raises = True

    long = chosen(wanted, steps=LONG)
    host = FakeHost(at_step(1, interrupt))
    with pytest.raises(Interruption):
        house.learn(long, host)
    last = house.last
    assert last["state"] == "interrupted"
    assert str(house.token_path(last["id"])) in last["message"]
    assert f"step {last['step']} " in last["message"]
    assert 1 <= last["step"] < LONG
    assert ("back",) in host.calls

    rest = house.learn(long)
    assert house.gone_on_from() == last["step"]
    assert same(rest, unbroken(long))


def test_an_interruption_before_the_first_step_leaves_nothing(wanted, house):
    host = FakeHost()
    house.on_event = lambda event: event["stage"] == "loading the UNet" and host.cancel()
    with pytest.raises(Interruption):
        house.learn(wanted, host)
    assert house.last["state"] == "interrupted"
    assert "nothing was learned" in house.last["message"]
    assert not house.token_path(house.last["id"]).exists()
    assert ("back",) in host.calls


class Failure(Exception):
    pass


@pytest.mark.parametrize("asked", ["free_memory", "expected", "parking", "bar", "preview"])
def test_what_the_host_raises_is_raised_and_told(wanted, house, asked):
    def fail(*arguments):
        raise Failure("no room here")

    host = FakeHost(fail if asked == "bar" else lambda host, step: None)
    if asked == "free_memory":
        host.free_memory = fail
    elif asked in ("expected", "parking"):
        wanted = replace(wanted, **{asked: fail})
    elif asked == "preview":
        wanted = replace(chosen(wanted, steps=ENDLESS), preview_percent=50.0, preview=fail)
    with pytest.raises(Failure, match="no room here"):
        house.learn(wanted, host)
    assert house.last["state"] == "failed"
    assert "no room here" in house.last["message"]
    assert "resume" not in house.last["message"]  # which no graph has
    assert (("back",) in host.calls) is (asked != "expected")


def test_a_failure_is_told_and_does_no_harm_to_the_next(wanted, house):
    broken = chosen(wanted, t_lower=950)
    with pytest.raises(zoodip().Error, match="t_lower: needs to be below t_upper"):
        house.learn(broken)
    assert house.last["state"] == "failed"
    assert "t_lower" in house.last["message"]
    assert house.learn(wanted).finished


def test_the_self_check_is_made_before_training_and_only_then(wanted, house):
    asked = []

    def expected():
        asked.append(True)
        return graph().Expected(latent=(torch.zeros(1, 3, 64, 64), torch.ones(1, 4, 8, 8)))

    checked = replace(wanted, expected=expected)
    host = FakeHost()
    with pytest.raises(zoodip().Error, match="self-check: latents differ by .* %"):
        house.learn(checked, host)
    assert house.last["state"] == "failed"
    assert ("back",) in host.calls
    house.learn(wanted)
    house.learn(checked)  # the same key: from the store
    assert len(asked) == 1


def test_the_hosts_model_is_parked_while_the_engine_trains_and_only_then(wanted, house):
    told = []

    @contextmanager
    def parking():
        told.append("parked")
        try:
            yield
        finally:
            told.append("back")

    host = FakeHost(at_step(1, lambda host: told.append("trains")))
    host.free_memory = lambda needed: told.append("free")
    parked = replace(wanted, parking=parking)
    house.learn(parked, host)
    assert told == ["free", "parked", "trains", "back"]
    house.learn(parked)  # from the store
    assert len(told) == 4
    host = FakeHost(at_step(1, lambda host: host.cancel()))
    with pytest.raises(Interruption):
        house.learn(chosen(parked, steps=LONG), host)
    assert told[4:] == ["parked", "back"]


def test_previews_are_drawn_shown_and_kept(wanted, house):
    shown = replace(
        chosen(wanted, steps=200),
        preview_percent=10.0,
        preview=lambda latents: b"jpeg %d" % latents.ndim,
    )
    host = FakeHost()
    house.learn(shown, host)
    preview = house.last["preview"]
    assert preview["step"] > 0
    assert host.shown[-1] == (preview["step"], b"jpeg 4")
    assert house.get(preview["url"]) == b"jpeg 4"
    assert house.last["graph"]["preview_percent"] == 10.0
    kept = list((house.folder(house.last["id"]) / "previews").iterdir())
    assert len(kept) == 1  # the latest
    # The next page, and the next process, have it too.
    house.learn(shown)
    assert house.last["preview"] == preview


def test_no_preview_is_asked_for_where_nothing_can_draw_it(wanted, house):
    def draw(latents):
        drawn.append(latents.shape)

    drawn = []
    house.learn(replace(chosen(wanted, steps=200), preview_percent=50.0, preview=draw))
    assert drawn[0] == (1, 4, 8, 8) and house.last["preview"] is None
    house.learn(replace(chosen(wanted, steps=201), preview_percent=50.0))
    assert house.last["preview"] is None


def test_one_training_of_a_key_at_a_time(wanted, house):
    long = chosen(wanted, steps=ENDLESS)
    with in_training(house, long):
        id = house.shown("1")["id"]
        with pytest.raises(zoodip().Error, match="already running and writes to") as error:
            house.learn(long)
        assert str(house.folder(id)) in str(error.value)
        assert house.shown()["state"] == "failed"
        assert house.shown("1")["state"] == "running"


# What makes another training.


def a_schedule():
    betas = torch.linspace(0.1, 0.2, 1000, dtype=torch.float64)
    return torch.cumprod(1 - betas, 0).tolist()


def test_the_key_follows_all_that_decides(wanted, house):
    picture = wanted.subjects[0].pictures[0]
    other_text = graph().Text(picture.text.ids, [5], [2], {"clip_l": torch.ones(1, 32)})
    other_ids = picture.text.ids.clone()
    other_ids[0, 6] += 1
    changes = {
        "digest": "e" * 64,
        "alphas_cumprod": a_schedule(),
        "settings": {**wanted.settings, "n": 4},
    }
    trainings = [replace(wanted, **{name: value}) for name, value in changes.items()]
    trainings += [
        about(wanted, word="zwx"),
        about(wanted, initialiser=("cat", [2368])),
        about(wanted, pictures=[replace(picture, sha256="1" * 64)]),
        about(wanted, initialiser=("dog", [2368])),
        about(wanted, pictures=[picture, picture]),
        about(wanted, pictures=[replace(picture, caption="{}")]),
        about(wanted, pictures=[replace(picture, text=other_text)]),
        about(wanted, pictures=[replace(picture, text=graph().Text(other_ids, [5]))]),
        about(wanted, initialiser=("dog", {"clip_l": torch.ones(1, 32)})),
        about(wanted, initialiser=("dog", {"clip_l": torch.zeros(1, 32)})),
    ]
    decide = {"steps": STEPS + 1, "method": "spsa", "seed": 1, "early_stop": 3, "vectors": 2}
    decide |= {"compute": "bf16", "take": "best"}
    trainings += [chosen(wanted, **{name: value}) for name, value in decide.items()]
    keys = [house.named(training)["id"] for training in [wanted, *trainings]]
    assert len(set(keys)) == 1 + len(trainings)
    free = {"threads": 2, "checkpoint_every": 7, "checkpoints_kept": 9, "memory_limit": 900}
    for name, value in free.items():
        assert house.named(chosen(wanted, **{name: value}))["id"] == keys[0], name


def test_another_method_is_another_training(wanted, house):
    keys = {house.named(chosen(wanted, method=m))["id"] for m in ("rge", "spsa", "one_point")}
    assert len(keys) == 3


SCHEDULE = {"zero_snr", "beta_schedule", "beta_start", "beta_end"}


def test_a_schedule_that_the_wires_bring_is_in_no_setting(wanted, house):
    own = house.named(wanted)["settings"]
    assert own.keys() >= SCHEDULE | wanted.settings.keys()
    wired = house.named(replace(wanted, alphas_cumprod=a_schedule()))["settings"]
    assert wired == {name: value for name, value in own.items() if name not in SCHEDULE}


def test_a_schedule_of_the_wires_and_one_that_was_chosen_are_refused(wanted, house):
    both = replace(chosen(wanted, zero_snr="on"), alphas_cumprod=a_schedule())
    with pytest.raises(zoodip().Error, match="zero_snr: the wired model brings its own"):
        house.learn(both)
    assert house.last["state"] == "failed"


def test_a_default_and_its_value_are_the_same_training(wanted, house):
    open_steps = house.named(chosen(wanted, steps=0))
    assert open_steps["id"] == house.named(chosen(wanted, steps=30000))["id"]
    assert (open_steps["steps"], open_steps["settings"]["steps"]) == (30000, 30000)
    key = house.named(wanted)["id"]
    for name in ("n", "method", "seed", "validate_every", "take"):
        named = house.named(chosen(wanted, **{name: declared()[name]["default"]}))
        assert named["id"] == key, name
    exact = house.named(chosen(wanted, steps=0, method="exact"))
    assert exact["settings"]["steps"] == 500


# What is resolved once, before the first step.


@pytest.fixture
def demo(wanted):
    """A training whose exact gradient takes more than anything else: of the demo model."""
    return replace(wanted, weights=model_file.unpack())


def limits(training):
    """In units of 10^6 bytes: one that rge fits in and exact does not, and one for both."""
    rge, exact = (memory_of(training, method=method) for method in ("rge", "exact"))
    small = exact // 10**6
    assert rge < small * 10**6 < exact
    return small, small + 100


def test_the_memory_of_the_moment_makes_no_other_training(wanted, house):
    little = chosen(wanted, n=32, memory_limit=1 + memory_of(wanted, n=32, chunk=1) // 10**6)
    assert memory_of(wanted, n=32) > little.settings["memory_limit"] * 10**6
    first = house.learn(little)
    assert first.finished
    assert same(house.learn(chosen(wanted, n=32)), first)
    assert house.last["reused"]
    key = house.last["id"]
    assert house.named(chosen(wanted, n=32, chunk=2))["id"] != key


def memory_of(training, **settings):
    return graph().memory(training.weights, {**training.settings, **settings})


@pytest.mark.parametrize("fits", ["exact", "rge"])
def test_auto_is_the_method_that_it_chose(demo, house, fits):
    small, large = limits(demo)
    auto = chosen(demo, method="auto", memory_limit=large if fits == "exact" else small)
    host = FakeHost()
    assert house.learn(auto, host).finished
    assert house.last["settings"]["method"] == fits
    # Room is made for the better one before the engine looks how much there is.
    assert host.calls[0] == ("free", memory_of(auto, method="exact"))
    house.learn(chosen(demo, method=fits))
    assert house.last["reused"]


@pytest.mark.parametrize("begun", ["exact", "rge"])
@pytest.mark.parametrize("state", ["finished", "stopped"])
def test_auto_goes_on_with_what_was_begun(demo, house, begun, state):
    """Whatever fits by now: the engine would choose the other one here."""
    long = chosen(demo, steps=STEPS if state == "finished" else ENDLESS)
    stop = (lambda _: None) if state == "finished" else (lambda _: house.stop())
    first = house.learn(chosen(long, method=begun), FakeHost(at_step(1, stop)))
    key = house.last["id"]
    assert house.last["state"] == state
    small, large = limits(demo)
    auto = chosen(long, method="auto", memory_limit=small if begun == "exact" else large)
    if state == "finished":
        host = FakeHost()
        assert same(house.learn(auto, host), first)
        assert (house.last["id"], house.last["reused"], host.calls) == (key, True, [])
        return
    if begun == "exact":  # for which there is no room any more: it says so, and keeps it
        with pytest.raises(zoodip().Error, match="memory_limit"):
            house.learn(auto)
    else:
        host = FakeHost(at_step(first.steps + 1, lambda _: house.stop()))
        assert house.learn(auto, host).steps > first.steps
        assert [call[0] for call in host.calls] == ["free", "back"]  # for what was begun alone
    assert (house.last["id"], house.gone_on_from()) == (key, first.steps)


def test_auto_goes_on_with_a_shorter_one(demo, house):
    house.learn(chosen(demo, method="rge"))
    auto = chosen(demo, method="auto", steps=LONG, memory_limit=limits(demo)[1])
    assert house.learn(auto).finished
    assert (house.last["settings"]["method"], house.gone_on_from()) == ("rge", STEPS)


def test_what_cannot_be_resolved_is_told(wanted, house):
    house.learn(wanted)
    with pytest.raises(zoodip().Error, match="did you mean 'n'"):
        house.learn(chosen(wanted, nn=3))
    assert (house.last["state"], house.last["step"]) == ("failed", 0)
    assert "did you mean 'n'" in house.last["message"]
    shown = house.shown()
    assert (shown["state"], shown["message"]) == ("failed", house.last["message"])
    assert house.get("/v1/health")["running"] == 0


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"nn": 3}, "there is no 'nn'; did you mean 'n'"),
        ({"lerning_rate": 0.1}, "did you mean 'learning_rate'"),
        ({"n": 65}, "n: needs a whole number from 1 to 64, got 65"),
        ({"method": "magic"}, "method: needs one of rge, spsa"),
    ],
)
def test_settings_that_are_none_are_refused(wanted, house, settings, says):
    """What another node may put on the wire."""
    with pytest.raises(zoodip().Error, match=says):
        house.learn(chosen(wanted, **settings))


# What was left half-done, or damaged.


def test_a_damaged_word_is_trained_anew(wanted, house):
    learned = house.learn(wanted)
    house.token_path(house.last["id"]).write_bytes(b"no token")
    again = house.learn(wanted)
    assert not house.last["reused"] and house.steps_made() == set(range(1, STEPS + 1))
    assert same(again, learned)
    assert house.last["points"] or house.shown()["points"][0][0] == 1


def test_what_a_killed_process_left_is_gone_on_with(wanted, house, make_house, unbroken):
    """The record says step 0, as it was written before the training; the word is further."""
    long = chosen(wanted, steps=LONG, checkpoint_every=10)
    with pytest.raises(Interruption):
        house.learn(long, FakeHost(at_step(1, lambda host: host.cancel())))
    reached, key = house.last["step"], house.last["id"]
    house.ends()
    progress = house.record(key)["progress"] | {"step": 0, "stage": "training"}
    house.change_record(key, state="running", progress=progress, message="", ended=0)
    (house.folder(key) / "curve.bin").unlink()

    house = make_house()
    shown = house.shown()
    assert (shown["id"], shown["state"]) == (key, "interrupted")
    assert "The program ended during this training" in shown["message"]
    rest = house.learn(long)
    assert house.gone_on_from() == reached
    assert rest.steps == LONG
    assert same(rest, unbroken(long))


KILLED = """
import os, sys
from pathlib import Path
sys.path += [{node!r}]
import conftest
from dataclasses import replace
from trainings import FakeHost, House, a_training, at_step
training = a_training(Path({checkpoint!r}))
training = replace(training, settings=dict(training.settings, steps={steps}, checkpoint_every=1))
def kill(host):
    print(house.shown()["id"], flush=True)
    os._exit(9)
house = House(Path({root!r}))
house.learn(training, FakeHost(at_step(5, kill)))
"""


def in_another_process(checkpoint, house, source, **more):
    source = source.format(
        node=str(Path(__file__).parent), checkpoint=str(checkpoint), root=str(house.root), **more
    )
    return subprocess.Popen(
        [sys.executable, "-c", source],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_process_that_dies_in_the_middle_leaves_a_training_to_go_on_with(
    wanted, checkpoint, house, unbroken
):
    steps = 2000
    dead = in_another_process(checkpoint, house, KILLED, steps=steps)
    said, _ = dead.communicate(timeout=120)
    assert dead.returncode == 9
    shown = house.shown()
    assert (shown["id"], shown["state"]) == (said.strip(), "interrupted")
    stop = FakeHost(at_step(6, lambda _: house.stop()))
    kept = house.learn(chosen(wanted, steps=steps), stop)
    assert house.gone_on_from() >= 5
    assert kept.steps < steps
    assert same(kept, unbroken(chosen(wanted, steps=kept.steps)))


WAITING = """
import sys
from pathlib import Path
sys.path += [{node!r}]
import conftest
from dataclasses import replace
from trainings import FakeHost, House, a_training, at_step
training = a_training(Path({checkpoint!r}))
training = replace(training, settings=dict(training.settings, steps=10**6))
def wait(host):
    print("trains", flush=True)
    sys.stdin.readline()
    house.stop()
house = House(Path({root!r}))
house.learn(training, FakeHost(at_step(5, wait)))
house.ends()
"""


@pytest.mark.parametrize("other", ["holds the folder", "came later"])
def test_two_programs_share_the_folder(wanted, checkpoint, house, other):
    """What one trains the other does not touch, and goes on with once it is over."""
    if other == "came later":
        house.jobs.service()
    process = in_another_process(checkpoint, house, WAITING)
    try:
        assert process.stdout.readline() == "trains\n"
        long = chosen(wanted, steps=ENDLESS)
        with pytest.raises(zoodip().Error, match="already running and writes to"):
            house.learn(long)
        mine = house.learn(wanted)  # another training goes on beside it
        assert mine.finished
        assert house.ask("/v1/store", "DELETE")[0] == 200
    finally:
        process.communicate("", timeout=120)
    assert process.returncode == 0
    kept = house.learn(long, FakeHost(at_step(6, lambda _: house.stop())))
    assert house.gone_on_from() >= 5
    assert len(kept.losses) == kept.steps


def test_a_record_and_what_it_goes_on_from_are_kept_before_the_first_step(wanted, house):
    """What a process leaves that is killed before it saves anything."""
    house.learn(wanted)
    kept = []

    def look(host):
        folder = house.folder(house.shown()["id"])
        kept.append(json.loads((folder / "job.json").read_text())["state"])
        kept.append((folder / "curve.bin").read_bytes())

    house.learn(chosen(wanted, steps=LONG), FakeHost(at_step(STEPS, look)))
    state, curve = kept
    assert state == "running"
    whole = (house.folder(house.last["id"]) / "curve.bin").read_bytes()
    head, point = 20, 24  # bytes
    assert curve[head:] == whole[head : head + STEPS * point]
    assert len(whole) == head + LONG * point


# More steps, the best word, and a folder that is deleted.


def test_a_finished_training_goes_on_to_more_steps(wanted, house, unbroken):
    first = house.learn(wanted)
    more = chosen(wanted, steps=LONG)
    learned = house.learn(more)
    assert house.gone_on_from() == STEPS
    assert min(house.steps_made()) == STEPS + 1
    assert (learned.steps, len(learned.losses)) == (LONG, LONG)
    assert len(house.shown()["points"]) == LONG
    assert same(learned, unbroken(more))
    # The shorter one is as it was, and both are there for ever.
    for kept, steps in ((wanted, STEPS), (more, LONG)):
        assert house.learn(kept).steps == steps
        assert house.last["reused"]
    assert same(house.learn(wanted), first)


def test_fewer_steps_than_were_made_are_another_training(wanted, house, unbroken):
    long = house.learn(chosen(wanted, steps=LONG))
    short = house.learn(wanted)
    assert not house.last["reused"] and 1 in house.steps_made()
    assert same(short, unbroken(wanted))
    assert same(house.learn(chosen(wanted, steps=LONG)), long)


def test_the_longest_one_is_gone_on_from_and_a_stopped_one_counts(wanted, house):
    house.learn(wanted)
    stop = FakeHost(at_step(STEPS + 3, lambda _: house.stop()))
    kept = house.learn(chosen(wanted, steps=ENDLESS), stop)
    assert STEPS < kept.steps < ENDLESS
    house.learn(chosen(wanted, steps=kept.steps + 5))
    assert house.gone_on_from() == kept.steps
    assert min(house.steps_made()) == kept.steps + 1


@pytest.mark.parametrize(
    "changed",
    [
        {"learning_rate_schedule": "cosine"},
        {"average_steps": LONG - STEPS + 1},
        {"seed": 1},
        {"word": "zwx"},
    ],
    ids=str,
)
def test_what_would_have_been_another_run_is_not_gone_on_from(wanted, house, changed):
    settings = {name: value for name, value in changed.items() if name != "word"}
    house.learn(chosen(wanted, **settings))
    if "seed" in changed:
        settings = {"seed": 2}
    other = about(chosen(wanted, steps=LONG, **settings), word=changed.get("word", "sks"))
    house.learn(other)
    assert house.last["state"] == "finished" and 1 in house.steps_made()
    assert house.gone_on_from() == 0


def test_a_word_of_an_older_version_that_kept_no_state_stays_and_is_not_gone_on_from(
    wanted, house, make_house
):
    house.learn(wanted)
    key = house.last["id"]
    house.ends()
    house.state_path(key).unlink()
    house.change_record(key, lineage="")
    house = make_house()
    house.learn(chosen(wanted, steps=LONG))
    assert house.last["state"] == "finished" and 1 in house.steps_made()
    house.learn(wanted)
    assert house.last["reused"]


def test_the_best_word_is_taken_without_learning_anew(wanted, house):
    checked = chosen(wanted, validate_every=4, learning_rate=2.0)  # too much to stay there
    last = house.learn(checked)
    key = house.last["id"]
    best = house.learn(chosen(checked, take="best"))
    told = house.last
    assert told["best_step"] < STEPS and house.steps_made() <= {STEPS}
    assert best.token.metadata["step"] == str(told["best_step"])
    assert f"is that of step {told['best_step']}, which had the lowest" in told["message"]
    assert not same(best, last)
    kept = house.token_path(key).with_name("token.best.safetensors")
    assert torch.equal(read_token(kept).vectors["clip_l"], best.token.vectors["clip_l"])


def test_a_folder_that_is_deleted_in_the_middle_does_not_take_the_word(wanted, house, unbroken):
    long = chosen(wanted, steps=LONG, checkpoint_every=10)
    learned = house.learn(long, FakeHost(at_step(1, lambda _: shutil.rmtree(house.root))))
    assert house.last["state"] == "finished"
    key = house.last["id"]
    assert same(learned, unbroken(long))
    assert same(house.learn(long), learned)
    assert house.last["reused"]
    assert house.shown()["id"] == key
    assert len(house.shown()["points"]) == LONG


def test_a_folder_that_is_deleted_does_not_take_a_stopped_word_either(
    wanted, house, make_house, unbroken
):
    long = chosen(wanted, steps=LONG)

    def stop(host):
        shutil.rmtree(house.root)
        house.stop()

    kept = house.learn(long, FakeHost(at_step(1, stop)))
    assert not kept.finished and kept.steps >= 1
    house.ends()
    house = make_house()  # what a later process finds is on the disk
    assert house.shown()["state"] == "stopped"
    rest = house.learn(long)
    assert house.gone_on_from() == kept.steps
    assert same(rest, unbroken(long))


def test_a_training_that_is_cleared_while_it_runs_stays(wanted, house):
    house.learn(wanted)
    first = house.last["id"]

    def clear(host):
        assert house.ask("/v1/store", "DELETE")[0] == 200
        house.stop()

    house.learn(chosen(wanted, steps=ENDLESS, seed=3), FakeHost(at_step(1, clear)))
    assert house.last["state"] == "stopped" and house.state_path(house.last["id"]).is_file()
    assert not house.folder(first).exists()


# What is told of a run.


def test_the_loss_of_the_fixed_samples_is_told_from_the_start_on_and_kept(wanted, house):
    house.learn(chosen(wanted, validate_every=10))
    told = house.last["validations"]
    assert [step for step, _ in told] == [0, 10, 20, 30, 40]
    assert house.shown()["validations"] == told
    before = [e for e in house.events if e["step"] == 0 and e["validations"]]
    assert before and before[0]["validations"] == told[:1]


def test_how_long_it_will_take_is_told_before_the_first_step(wanted, house):
    house.learn(wanted)
    first = next(event for event in house.events if event["foretold"])
    assert first["step"] == 0 and 0 < first["foretold"] < 600
    assert first["seconds_left"] > 0 and first["speed"] > 0
    assert house.last["foretold"] is house.last["speed"] is house.last["seconds_left"] is None


def test_passes_and_the_best_word_are_kept(wanted, house):
    learned = house.learn(chosen(wanted, validate_every=10, batch=2))
    last = house.last
    assert last["passes"] == STEPS * 2 * 3
    assert last["best_step"] in (10, 20, 30, 40)
    kept = house.shown()
    assert (kept["passes"], kept["best_step"]) == (last["passes"], last["best_step"])
    best = house.token_path(last["id"]).with_name("token.best.safetensors")
    assert read_token(best).metadata["step"] == str(last["best_step"])
    if last["best_step"] < STEPS:
        assert str(best) in last["message"]
    assert learned.token.metadata["step"] == str(STEPS)  # the last one goes on


def test_passes_are_counted_on_where_it_goes_on(wanted, house):
    house.learn(wanted)
    assert house.last["passes"] == STEPS * 3
    house.learn(chosen(wanted, steps=LONG))
    assert house.last["passes"] == LONG * 3


def test_a_run_that_validation_ends_early_is_finished_and_says_so(wanted, house):
    """With a word that hardly moves nothing better is found for long."""
    idle = chosen(wanted, steps=3000, validate_every=2, early_stop=1, learning_rate=1e-8)
    learned = house.learn(idle)
    assert learned.finished and learned.steps < 3000
    assert house.last["state"] == "finished"
    assert f"Ended early at step {learned.steps}" in house.last["message"]
    assert house.learn(idle).steps == learned.steps
    assert house.last["reused"]


def test_a_run_that_diverges_says_so_and_leaves_its_last_good_word(wanted, house):
    """Half its own mean is what every loss exceeds, once it is judged."""
    wild = chosen(wanted, steps=LONG, divergence=0.5)
    with pytest.raises(zoodip().Error, match="the loss diverges"):
        house.learn(wild)
    last = house.last
    assert last["state"] == "failed"
    assert "the loss diverges" in last["message"]
    token = house.token_path(last["id"])
    assert str(token) in last["message"]
    assert not house.state_path(last["id"]).exists()
    assert f"step {read_token(token).metadata['step']} " in last["message"]
    assert house.get(f"/v1/jobs/{last['id']}/token") == token.read_bytes()
    with pytest.raises(zoodip().Error, match="the loss diverges"):
        house.learn(wild)  # from its first step
    assert house.gone_on_from() == 0


def test_a_word_of_several_vectors(wanted, house):
    """Two initialisers, each with its place in the caption."""
    text = ids("a photo of a big dog")
    places = text.ids.clone()
    places[0, 5:7] = 0
    picture = replace(
        wanted.subjects[0].pictures[0], caption="a photo of a {}", text=graph().Text(places, [5])
    )
    start = text.ids[0, 5:7].tolist()
    several = about(wanted, initialiser=("big dog", start), pictures=[picture])
    learned = house.learn(several)
    assert learned.token.vectors["clip_l"].shape[0] == 2

    earlier = learned.token.vectors["clip_l"]
    onwards = about(several, initialiser=("sks", {"clip_l": earlier}), word="zwx")
    vectors = house.learn(onwards).token.vectors["clip_l"]
    assert vectors.shape == tuple(earlier.shape)


def test_the_node_says_what_it_multiplies_in_and_why(wanted, house, monkeypatch):
    monkeypatch.setenv("ZOODIP_COMPUTE", "fp32")
    house.learn(wanted)
    told = house.last
    assert told["compute"] == "fp32"
    assert "as ZOODIP_COMPUTE says" in told["compute_choice"]
    # What was chosen has no reason but that.
    house.learn(chosen(wanted, compute="bf16"))
    assert (house.last["compute"], house.last["compute_choice"]) == ("bf16", None)
    house.learn(wanted)
    assert house.last["reused"]
    assert (house.last["compute"], house.last["compute_choice"]) == (
        "fp32",
        told["compute_choice"],
    )


def test_a_full_disk_is_a_sentence_and_takes_nothing_that_was_learned(wanted, house, make_house):
    """A file-size limit stands for it: what was kept before is longer than what may be written."""
    first = house.learn(wanted)
    house.ends()
    process = in_another_process(wanted.weights, house, FULL_DISK, steps=STEPS)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    told = json.loads(said)
    assert str(house.root) in told["message"] and "File too large" in told["message"]
    assert told["state"] == "failed"
    assert told["reused"] == [True, STEPS]
    assert same(make_house().learn(wanted), first)


FULL_DISK = """
import json, resource, sys
from pathlib import Path
sys.path += [{node!r}]
import conftest
from dataclasses import replace
from trainings import House, a_training
training = a_training(Path({checkpoint!r}))
house = House(Path({root!r}))
house.jobs.service()
resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
told = {{}}
try:
    house.learn(replace(training, settings=dict(training.settings, seed=8)))
except Exception as error:
    told["message"] = str(error)
told["state"] = house.shown()["state"]
learned = house.learn(training)
told["reused"] = [house.last["reused"], learned.steps]
print(json.dumps(told))
"""


def several(wanted):
    """Three subjects, whose captions differ."""
    first = wanted.subjects[0]

    def other(word, init, caption):
        picture = first.pictures[0]
        text = ids(caption.replace("{}", "dog"), 5)
        picture = replace(picture, caption=caption, text=text)
        return replace(first, word=word, initialiser=("dog", [init]), pictures=[picture])

    more = [other("zwx", 2368, "a picture of a {}"), other("ohwx", 1929, "a drawing of a {}")]
    return replace(wanted, subjects=[first, *more])


def test_several_subjects_are_learned_together_each_as_alone(wanted, house, unbroken):
    trainings = [replace(wanted, subjects=[one]) for one in several(wanted).subjects]
    alone = [unbroken(training) for training in trainings]
    host = FakeHost()
    learned = house.learn_all(several(wanted), host)
    for one, other in zip(learned, alone, strict=True):
        assert one.finished and one.token.word == other.token.word
        assert torch.equal(one.token.vectors["clip_l"], other.token.vectors["clip_l"])
        assert one.losses == other.losses
    assert [call[0] for call in host.calls] == ["free", "back"]  # one model
    groups = {house.get(f"/v1/jobs/{job['id']}")["group"] for job in house.get("/v1/jobs")["jobs"]}
    assert len(groups) == 1 and None not in groups
    # The node shows its own; all are found again, alone or together with a new one.
    assert house.shown()["word"] == "sks"
    assert same(house.learn(trainings[1]), learned[1])
    host = FakeHost()
    again = house.learn_all(several(wanted), host)
    assert all(same(one, other) for one, other in zip(again, learned, strict=True))
    assert host.calls == []


def test_what_is_not_learned_yet_of_several_is(wanted, house, unbroken):
    first, second, third = several(wanted).subjects
    known = house.learn(replace(wanted, subjects=[second]))
    learned = house.learn_all(several(wanted))
    assert same(learned[1], known)
    for one, subject in ((learned[0], first), (learned[2], third)):
        assert same(one, unbroken(replace(wanted, subjects=[subject])))


def same_vectors(one, other):
    return torch.equal(one.token.vectors["clip_l"], other.token.vectors["clip_l"])


def test_a_wish_to_stop_the_node_stops_all_and_they_go_on(wanted, house, unbroken):
    long = chosen(several(wanted), steps=LONG)
    kept = house.learn_all(long, FakeHost(at_step(1, lambda _: house.stop())))
    assert not any(one.finished for one in kept)
    assert all(0 < one.steps < LONG for one in kept)
    rest = house.learn_all(long)
    assert all(one.finished and one.steps == LONG for one in rest)
    for one, subject in zip(rest, long.subjects, strict=True):
        assert same_vectors(one, unbroken(replace(long, subjects=[subject])))


def test_what_ends_the_prompt_ends_all_of_them(wanted, house):
    host = FakeHost(at_step(1, lambda host: host.cancel()))
    with pytest.raises(Interruption):
        house.learn_all(chosen(several(wanted), steps=ENDLESS), host)
    states = [job["state"] for job in house.get("/v1/jobs")["jobs"]]
    assert states == ["interrupted"] * 3


def test_two_subjects_of_one_word_are_refused(wanted, house):
    first = wanted.subjects[0]
    other = replace(first, initialiser=("cat", [2368]))
    with pytest.raises(zoodip().Error, match="two have the word 'sks'"):
        house.learn_all(replace(wanted, subjects=[first, other]))
    assert {job["state"] for job in house.get("/v1/jobs")["jobs"]} == {"failed"}
