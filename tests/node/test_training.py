"""Trainings by the real engine under a stand-in for ComfyUI: kept, stopped, interrupted, reused."""

from __future__ import annotations

import importlib
import json
import shutil
import threading
import urllib.request
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from comfyui_zoodip.node import resolution
from comfyui_zoodip.node import training as module
from comfyui_zoodip.node.live import LiveRuns
from comfyui_zoodip.node.native import engine_problem, graph, zoodip
from comfyui_zoodip.node.settings import declared
from comfyui_zoodip.node.store import Record, Store, StoreError
from comfyui_zoodip.node.training import Place, Training, learn
from comfyui_zoodip.node.turn import Turn
from make_checkpoint import write_checkpoint

STEPS = 40
LONG = 120
PLACE = Place("7", "graph", "prompt")
DOG = 1929


@pytest.fixture(scope="module", autouse=True)
def _engine():
    problem = engine_problem()
    if problem is not None:
        pytest.skip(problem)


def resolve(weights, settings, *, fit):
    """Every setting named as the engine names it; what method auto takes is the tests' choice."""
    named = {name: field["default"] for name, field in declared().items()} | settings
    if named["method"] == "auto":
        named["method"] = "rge"
    named["steps"] = named["steps"] or (1000 if named["method"] == "exact" else 30000)
    if fit:
        named["chunk"] = named["chunk"] or 3  # what memory allows at the moment
    return named


def decide_by(monkeypatch, resolve):
    """The engine decides so; why it does is nobody's business here."""
    decide = lambda *given, **named: (resolve(*given, **named), "")  # noqa: E731
    monkeypatch.setattr(graph(), "decide", decide, raising=False)


@pytest.fixture(autouse=True)
def _resolve(monkeypatch):
    decide_by(monkeypatch, resolve)


def chosen(training, **settings):
    """The training with other settings."""
    return replace(training, settings={**training.settings, **settings})


def named(training, store=None, host=None):
    """As it is looked up, kept and trained."""
    return resolution.resolved(training, store, host)


def key_of(training):
    return named(training).key


class Interruption(Exception):
    """ComfyUI's InterruptProcessingException."""


class FakeHost:
    """Records what it is asked. `on_event` sees every event, and may interrupt."""

    def __init__(self, on_event=lambda host, payload: None):
        self.events, self.calls, self.on_event = [], [], on_event
        self.cancel = lambda: None
        self.bar_raises = False
        self.entered = None
        self.shown = []

    def send(self, event, payload):
        self.events.append(payload)
        self.on_event(self, payload)

    def free_memory(self, needed):
        self.calls.append(("free", needed))

    def memory_given_back(self):
        self.calls.append(("back",))

    def interruption(self):
        return Interruption()

    @contextmanager
    def watch_interruption(self, cancel):
        self.cancel = cancel
        yield

    def progress_bar(self, steps, node):
        def move(step, jpeg=None):
            if self.bar_raises:
                raise Interruption
            if jpeg is not None:
                self.shown.append((step, jpeg))

        return move

    def rest_if_ending(self):
        self.calls.append(("rest",))

    def enter(self, training):
        return Turn(self.entered)

    @property
    def states(self):
        """Each state once, in order."""
        return list(dict.fromkeys(event["state"] for event in self.events))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    write_checkpoint(path, "tiny-taesd", seed=3)
    return path


def ids(text, place=None):
    found = torch.tensor([zoodip()._native.Tokenizer().encode_prompt(text)])
    if place is not None:
        found[0, place] = 0
    return graph().Text(found, [] if place is None else [place])


@pytest.fixture
def wanted(checkpoint):
    pixels = torch.randint(0, 256, (64, 64, 3), generator=torch.Generator().manual_seed(0))
    picture = graph().Picture(
        "picture 1", pixels.to(torch.uint8), "0" * 64, "a photo of a {}", ids("a photo of a dog", 5)
    )
    return Training(
        weights=checkpoint,
        digest="d" * 64,
        pictures=[picture],
        word="sks",
        initialiser=("dog", [DOG]),
        empty_text=ids(""),
        settings={"resolution": 64, "device": "cpu", "threads": 1, "steps": STEPS},
    )


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "zoodip")


def test_a_schedule_that_the_wires_bring_is_in_no_setting(wanted, monkeypatch):
    schedule = {"zero_snr": "off", "beta_schedule": "linear", "beta_start": 0.1, "beta_end": 0.2}
    decide_by(monkeypatch, lambda _, asked, fit: {**asked, **schedule})
    assert schedule.keys() <= named(wanted).settings.keys()
    wired = named(replace(wanted, alphas_cumprod=[0.5] * 1000))
    assert wired.settings == wanted.settings


def unbroken(wanted, folder):
    return learn(wanted, PLACE, Store(folder / "unbroken"), LiveRuns(), FakeHost())


def same(one, other):
    return torch.equal(one.token.vectors["clip_l"], other.token.vectors["clip_l"])


def at_step(step, act):
    """An `on_event` that acts once, at the first event from that step on."""
    done = []

    def on_event(host, payload):
        if payload["state"] == "training" and payload["step"] >= step and not done:
            done.append(True)
            act(host, payload)

    return on_event


def test_a_training_ends_with_its_word_and_is_not_done_twice(wanted, store):
    host, runs = FakeHost(), LiveRuns()
    learned = learn(wanted, PLACE, store, runs, host)
    assert learned.finished
    assert (learned.steps, len(learned.losses)) == (STEPS, STEPS)
    assert learned.token.word == "sks"
    assert host.states == ["preparing", "training", "finished"]
    assert [call[0] for call in host.calls] == ["free", "back", "rest"]
    assert host.calls[0][1] > 10_000_000  # bytes
    assert store.node_run("graph", "7") == key_of(wanted)
    assert runs.current() is None

    again = FakeHost()
    known = learn(wanted, PLACE, store, LiveRuns(), again)
    assert again.states[-1] == "reused"
    assert again.calls == []  # nothing was trained
    assert same(learned, known)
    assert known.losses == pytest.approx(learned.losses)
    assert (known.steps, known.finished) == (STEPS, True)


def test_every_point_of_the_curve_reaches_the_page(wanted, store):
    host = FakeHost()
    learn(wanted, PLACE, store, LiveRuns(), host)
    points = [point[0] for event in host.events for point in event["points"]]
    assert points == list(range(1, STEPS + 1))


def test_stop_and_keep_goes_on_with_the_same_bits(wanted, store, tmp_path):
    runs = LiveRuns()
    long = chosen(wanted, steps=LONG)
    stop = at_step(1, lambda host, payload: runs.get(key_of(long)).request_stop())
    host = FakeHost(stop)
    kept = learn(long, PLACE, store, runs, host)
    assert not kept.finished
    assert 1 <= kept.steps < LONG
    assert host.states[-1] == "stopped"
    assert len(kept.losses) == kept.steps
    assert store.finished(key_of(long)) is None

    again = FakeHost()
    rest = learn(long, PLACE, store, LiveRuns(), again)
    assert rest.finished
    assert len(rest.losses) == LONG
    resumed = [event["step"] for event in again.events if event["state"] == "preparing"]
    assert max(resumed) == kept.steps
    assert same(rest, unbroken(long, tmp_path))


@pytest.fixture
def service(tmp_path):
    """The HTTP API that the host's trainings are entered at."""
    folders = {"models": [tmp_path], "images": [tmp_path], "jobs": tmp_path / "jobs"}
    with importlib.import_module("zoodip.service").Service(**folders, port=0) as running:
        yield running


def ask(service, path, method="GET"):
    request = urllib.request.Request(service.url + path, method=method)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return answer.read()


def entered_host(service, training, on_event):
    host = FakeHost(on_event)
    host.entered = service.enter(
        model="tiny", word=training.word, init="dog", settings=training.settings, device="cpu"
    )
    return host


def job_of(service):
    [job] = json.loads(ask(service, "/v1/jobs"))["jobs"]
    return job


def test_a_script_watches_a_training_stops_it_and_fetches_the_word(wanted, store, service):
    long = chosen(wanted, steps=LONG)
    seen = []

    def stop(host, payload):
        seen.append(job_of(service))
        ask(service, f"/v1/jobs/{seen[0]['id']}/stop", "POST")

    host = entered_host(service, long, at_step(3, stop))
    kept = learn(long, PLACE, store, LiveRuns(), host)
    assert seen[0]["state"] == "running"
    assert seen[0]["step"] >= 3
    assert seen[0]["steps"] == LONG
    assert not kept.finished
    assert host.states[-1] == "stopped"
    job = job_of(service)
    assert (job["state"], job["step"], job["token"]) == ("stopped", kept.steps, True)
    token = ask(service, f"/v1/jobs/{job['id']}/token")
    assert token == store.token_path(key_of(long)).read_bytes()


def test_a_script_cancels_a_training(wanted, store, service):
    long = chosen(wanted, steps=LONG)
    cancel = at_step(1, lambda *_: ask(service, f"/v1/jobs/{job_of(service)['id']}/cancel", "POST"))
    host = entered_host(service, long, cancel)
    with pytest.raises(Interruption):
        learn(long, PLACE, store, LiveRuns(), host)
    assert host.states[-1] == "interrupted"
    assert (job_of(service)["state"], job_of(service)["token"]) == ("cancelled", False)


def test_a_training_waits_for_another_and_its_wait_can_be_interrupted(wanted, store, service):
    other = service.enter(model="m", word="w", init="dog", settings={}, device="cpu")
    assert other.wait(20)
    host = entered_host(
        service,
        wanted,
        lambda host, payload: payload["stage"] == "waiting for another training" and host.cancel(),
    )
    with pytest.raises(Interruption):
        learn(wanted, PLACE, store, LiveRuns(), host)
    other.end("finished", "", "")
    assert host.events[-1]["state"] == "interrupted"
    assert not store.token_path(key_of(wanted)).exists()
    assert learn(wanted, PLACE, store, LiveRuns(), FakeHost()).finished


@pytest.mark.parametrize("way", ["watched", "raised by the progress bar"])
def test_an_interrupted_run_is_kept_and_says_where(wanted, store, tmp_path, way):
    def interrupt(host, payload):
        if way == "watched":
            host.cancel()
        else:
            host.bar_raises = True

    long = chosen(wanted, steps=LONG)
    host = FakeHost(at_step(1, interrupt))
    with pytest.raises(Interruption):
        learn(long, PLACE, store, LiveRuns(), host)
    last = host.events[-1]
    assert last["state"] == "interrupted"
    assert str(store.token_path(key_of(long))) in last["message"]
    assert f"step {last['step']}" in last["message"]
    assert store.unfinished(key_of(long)).step == last["step"]
    assert ("back",) in host.calls

    rest = learn(long, PLACE, store, LiveRuns(), FakeHost())
    assert same(rest, unbroken(long, tmp_path))


def test_an_interruption_before_the_first_step_leaves_nothing(wanted, store):
    host = FakeHost(lambda host, payload: payload["stage"] == "loading the UNet" and host.cancel())
    with pytest.raises(Interruption):
        learn(wanted, PLACE, store, LiveRuns(), host)
    assert host.events[-1]["state"] == "interrupted"
    assert "nothing was learned" in host.events[-1]["message"]
    assert not store.token_path(key_of(wanted)).exists()


def test_a_failure_is_told_and_does_no_harm_to_the_next(wanted, store):
    broken = chosen(wanted, t_lower=950)
    host = FakeHost()
    with pytest.raises(zoodip().Error, match="t_lower: needs to be below t_upper"):
        learn(broken, PLACE, store, LiveRuns(), host)
    assert host.events[-1]["state"] == "failed"
    assert "t_lower" in host.events[-1]["message"]
    assert ("back",) in host.calls
    assert learn(wanted, PLACE, store, LiveRuns(), FakeHost()).finished


def test_the_self_check_is_made_before_training_and_only_then(wanted, store):
    asked = []

    def expected():
        asked.append(True)
        return graph().Expected(latent=(torch.zeros(1, 3, 64, 64), torch.ones(1, 4, 8, 8)))

    checked = replace(wanted, expected=expected)
    host = FakeHost()
    with pytest.raises(zoodip().Error, match="self-check: latents differ by .* %"):
        learn(checked, PLACE, store, LiveRuns(), host)
    assert host.states[-1] == "failed"
    learn(wanted, PLACE, store, LiveRuns(), FakeHost())
    learn(checked, PLACE, store, LiveRuns(), FakeHost())  # the same key: from the store
    assert len(asked) == 1


def test_previews_are_drawn_shown_and_kept(wanted, store):
    shown = replace(
        chosen(wanted, steps=200),
        preview_percent=10.0,
        preview=lambda latents: b"jpeg %d" % latents.ndim,
    )
    host = FakeHost()
    learn(shown, PLACE, store, LiveRuns(), host)
    assert host.events[-1]["preview"]["step"] > 0
    assert host.shown[-1] == (host.events[-1]["preview"]["step"], b"jpeg 4")
    assert store.preview(key_of(shown)) == b"jpeg 4"


def test_one_training_of_a_key_at_a_time(wanted, store):
    long = chosen(wanted, steps=3000)
    runs, begun = LiveRuns(), threading.Event()
    host = FakeHost(at_step(1, lambda *_: begun.set()))
    thread = threading.Thread(target=learn, args=(long, PLACE, store, runs, host))
    thread.start()
    try:
        assert begun.wait(60)
        with pytest.raises(StoreError):
            learn(long, PLACE, store, LiveRuns(), FakeHost())
    finally:
        runs.get(key_of(long)).request_stop()
        thread.join()


def test_the_host_can_end_during_a_training(wanted, store):
    """What is registered for the interpreter's end: stops, keeps, and waits."""
    long = chosen(wanted, steps=10**6)
    runs, begun = LiveRuns(), threading.Event()
    host = FakeHost(at_step(2, lambda *_: begun.set()))
    thread = threading.Thread(target=learn, args=(long, PLACE, store, runs, host))
    thread.start()
    assert begun.wait(60)
    assert runs.shutdown(timeout=60)
    thread.join()
    assert store.unfinished(key_of(long)).step >= 2


def test_the_key_follows_all_that_decides(wanted):
    picture = wanted.pictures[0]
    other_text = graph().Text(picture.text.ids, [5], [2], {"clip_l": torch.ones(1, 32)})
    changes = {
        "digest": "e" * 64,
        "word": "zwx",
        "initialiser": ("cat", [2368]),
        "alphas_cumprod": [0.5],
        "settings": {**wanted.settings, "n": 4},
        "pictures": [replace(picture, sha256="1" * 64)],
    }
    keys = {replace(wanted, **{name: value}).key for name, value in changes.items()}
    keys |= {replace(wanted, pictures=[replace(picture, caption="{}")]).key}
    keys |= {replace(wanted, pictures=[replace(picture, text=other_text)]).key}
    keys |= {replace(wanted, initialiser=("dog", {"clip_l": torch.ones(1, 32)})).key}
    keys |= {replace(wanted, initialiser=("dog", {"clip_l": torch.zeros(1, 32)})).key}
    decide = {"steps": STEPS + 1, "method": "spsa", "seed": 1, "early_stop": 3, "vectors": 2}
    keys |= {chosen(wanted, **{name: value}).key for name, value in decide.items()}
    assert wanted.key not in keys
    assert len(keys) == len(changes) + 4 + len(decide)
    free = {"device": "cuda", "threads": 2, "checkpoint_every": 7, "memory_limit": 9}
    for name, value in free.items():
        assert chosen(wanted, **{name: value}).key == wanted.key


def test_another_version_learns_anew(wanted, monkeypatch):
    key = wanted.key
    monkeypatch.setattr(module, "version", lambda: "99")
    assert wanted.key != key


def test_what_a_killed_process_left_is_gone_on_with(wanted, store, tmp_path):
    """The record says step 0, as it was written before the training; the word is further."""
    long = chosen(wanted, steps=LONG, checkpoint_every=10)
    host = FakeHost(at_step(1, lambda host, payload: host.cancel()))
    with pytest.raises(Interruption):
        learn(long, PLACE, store, LiveRuns(), host)
    reached = store.unfinished(key_of(long)).step
    store.save(replace(store.record(key_of(long)), step=0, state="training", curve=()))

    again = FakeHost()
    rest = learn(long, PLACE, store, LiveRuns(), again)
    assert max(event["step"] for event in again.events if event["state"] == "preparing") == reached
    assert rest.steps == LONG
    assert same(rest, unbroken(long, tmp_path))


def test_the_curve_is_written_while_it_grows(wanted, store, monkeypatch):
    monkeypatch.setattr(module, "_SAVE_SECONDS", 0.0)
    kept = []
    host = FakeHost(lambda *_: kept.append(len(store.record(key_of(wanted)).losses)))
    learn(wanted, PLACE, store, LiveRuns(), host)
    assert any(0 < count < STEPS for count in kept)


# More steps, the best word, and a folder that is deleted.


def steps_of(host):
    """The steps that were made, not those that were taken over."""
    told = [e for e in host.events if e["state"] == "training" and e["points"]]
    return {point[0] for event in told for point in event["points"]}


def test_a_finished_training_goes_on_to_more_steps(wanted, store, tmp_path):
    first = learn(wanted, PLACE, store, LiveRuns(), FakeHost())
    more, host = chosen(wanted, steps=LONG), FakeHost()
    learned = learn(more, PLACE, store, LiveRuns(), host)
    assert max(e["step"] for e in host.events if e["state"] == "preparing") == STEPS
    assert (learned.steps, len(learned.losses)) == (LONG, LONG)
    assert same(learned, unbroken(more, tmp_path))
    # The shorter one is as it was, and both are there for ever.
    for kept, steps in ((wanted, STEPS), (more, LONG)):
        again = FakeHost()
        assert learn(kept, PLACE, store, LiveRuns(), again).steps == steps
        assert again.states[-1] == "reused"
    assert same(learn(wanted, PLACE, store, LiveRuns(), FakeHost()), first)


def test_fewer_steps_than_were_made_are_another_training(wanted, store, tmp_path):
    long = learn(chosen(wanted, steps=LONG), PLACE, store, LiveRuns(), FakeHost())
    host = FakeHost()
    short = learn(wanted, PLACE, store, LiveRuns(), host)
    assert host.states[-1] == "finished" and 1 in steps_of(host)
    assert same(short, unbroken(wanted, tmp_path))
    assert same(learn(chosen(wanted, steps=LONG), PLACE, store, LiveRuns(), FakeHost()), long)


def test_the_longest_one_is_gone_on_from_and_a_stopped_one_counts(wanted, store):
    learn(wanted, PLACE, store, LiveRuns(), FakeHost())
    long, runs = chosen(wanted, steps=3000), LiveRuns()
    stop = at_step(STEPS + 3, lambda *_: runs.get(key_of(long)).request_stop())
    kept = learn(long, PLACE, store, runs, FakeHost(stop))
    assert STEPS < kept.steps < 3000
    host = FakeHost()
    learn(chosen(wanted, steps=kept.steps + 5), PLACE, store, LiveRuns(), host)
    assert min(e["step"] for e in host.events if e["state"] == "training") >= kept.steps


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
def test_what_would_have_been_another_run_is_not_gone_on_from(wanted, store, changed):
    word = changed.pop("word", "sks")
    learn(replace(chosen(wanted, **(changed if word == "sks" else {})), word="sks"), *_rest(store))
    if "seed" in changed:
        changed = {"seed": 2}
    host = FakeHost()
    other = replace(chosen(wanted, steps=LONG, **changed), word=word)
    learn(other, PLACE, store, LiveRuns(), host)
    assert host.states[-1] == "finished" and 1 in steps_of(host)


def _rest(store):
    return PLACE, store, LiveRuns(), FakeHost()


def test_a_word_of_an_older_version_that_kept_no_state_stays_and_is_not_gone_on_from(wanted, store):
    learn(wanted, *_rest(store))
    key = key_of(wanted)
    store.state_path(key).unlink()
    run = store.token_path(key).with_name("run.json")
    values = json.loads(run.read_text())
    del values["lineage"]
    run.write_text(json.dumps(values))
    host, again = FakeHost(), FakeHost()
    learn(chosen(wanted, steps=LONG), PLACE, store, LiveRuns(), host)
    assert host.states[-1] == "finished" and 1 in steps_of(host)
    learn(wanted, PLACE, store, LiveRuns(), again)
    assert again.states[-1] == "reused"


def test_the_best_word_is_taken_without_learning_anew(wanted, store):
    checked = chosen(wanted, validate_every=4, learning_rate=2.0)  # too much to stay there
    last = learn(checked, *_rest(store))
    host = FakeHost()
    best = learn(chosen(checked, take="best"), PLACE, store, LiveRuns(), host)
    told = host.events[-1]
    assert told["best_step"] < STEPS and steps_of(host) <= {STEPS}
    assert best.token.metadata["step"] == str(told["best_step"])
    assert f"is that of step {told['best_step']}, which had the lowest" in told["message"]
    assert not same(best, last)
    kept = store.token_path(key_of(checked)).with_name("token.best.safetensors")
    assert torch.equal(module.read_token(kept).vectors["clip_l"], best.token.vectors["clip_l"])


def test_a_folder_that_is_deleted_in_the_middle_does_not_take_the_word(wanted, store, tmp_path):
    long = chosen(wanted, steps=LONG, checkpoint_every=10)
    host = FakeHost(at_step(5, lambda *_: shutil.rmtree(store.root)))
    learned = learn(long, PLACE, store, LiveRuns(), host)
    assert host.states[-1] == "finished"
    assert same(learned, unbroken(long, tmp_path))
    again = FakeHost()
    assert same(learn(long, PLACE, store, LiveRuns(), again), learned)
    assert again.states[-1] == "reused"
    assert store.node_run("graph", "7") == key_of(long)


def test_a_folder_that_is_deleted_does_not_take_a_stopped_word_either(wanted, store, tmp_path):
    long, runs = chosen(wanted, steps=LONG), LiveRuns()

    def stop(host, payload):
        shutil.rmtree(store.root)
        runs.get(key_of(long)).request_stop()

    kept = learn(long, PLACE, store, runs, FakeHost(at_step(5, stop)))
    assert not kept.finished and kept.steps >= 5
    assert same(learn(long, *_rest(store)), unbroken(long, tmp_path))


def test_the_loss_of_the_fixed_samples_is_told_from_the_start_on_and_kept(wanted, store):
    host = FakeHost()
    checked = chosen(wanted, validate_every=10)
    learn(checked, PLACE, store, LiveRuns(), host)
    told = host.events[-1]["validations"]
    assert [step for step, _ in told] == [0, 10, 20, 30, 40]
    assert [list(one) for one in store.record(key_of(checked)).validations] == told
    before = [e for e in host.events if e["step"] == 0 and e["validations"]]
    assert before and before[0]["validations"] == told[:1]


def test_how_long_it_will_take_is_told_before_the_first_step(wanted, store):
    host = FakeHost()
    learn(wanted, PLACE, store, LiveRuns(), host)
    first = next(event for event in host.events if event["foretold"])
    assert first["step"] == 0 and 0 < first["foretold"] < 600


# What is resolved once, before the first step.


def test_a_default_and_its_value_are_the_same_training(wanted):
    assert key_of(chosen(wanted, steps=0)) == key_of(chosen(wanted, steps=30000))
    assert key_of(chosen(wanted, n=2)) == key_of(wanted)
    assert named(chosen(wanted, steps=0)).steps == 30000
    assert named(chosen(wanted, steps=0, method="exact")).steps == 1000


def test_the_memory_of_the_moment_makes_no_other_training(wanted, monkeypatch):
    key = key_of(wanted)

    def less(weights, settings, *, fit):
        named = resolve(weights, settings, fit=fit)
        return {**named, "chunk": 1} if fit else named

    decide_by(monkeypatch, less)
    assert key_of(wanted) == key
    assert key_of(chosen(wanted, chunk=2)) != key


def test_auto_is_the_method_that_it_chose(wanted, store):
    auto, host = chosen(wanted, method="auto"), FakeHost()
    assert learn(auto, PLACE, store, LiveRuns(), host).finished
    # Room is made for the better one before the engine looks how much there is.
    exact = graph().memory(auto.weights, {**auto.settings, "method": "exact"})
    assert host.calls[0] == ("free", exact)
    again = FakeHost()
    learn(chosen(wanted, method="rge"), PLACE, store, LiveRuns(), again)
    assert again.states[-1] == "reused"


@pytest.mark.parametrize("begun", ["exact", "rge"])
@pytest.mark.parametrize("state", ["finished", "stopped"])
def test_auto_goes_on_with_what_was_begun(wanted, store, monkeypatch, begun, state):
    """Whatever fits by now: the engine would choose spsa here."""
    key = key_of(chosen(wanted, method=begun))
    store.folder(key)
    for path in (store.token_path(key), store.state_path(key)):
        path.write_bytes(b"kept")
    store.save(Record(key, "sks", state, 3, STEPS))

    def other(weights, settings, *, fit):
        settings = {**settings, "method": settings["method"].replace("auto", "spsa")}
        return resolve(weights, settings, fit=fit)

    decide_by(monkeypatch, other)
    host = FakeHost()
    found = named(chosen(wanted, method="auto"), store, host)
    assert (found.settings["method"], found.key) == (begun, key)
    assert host.calls == []


def test_what_cannot_be_resolved_is_told(wanted, store, monkeypatch):
    def refuse(weights, settings, *, fit):
        raise zoodip().Error("settings: there is no 'nn'; did you mean 'n'?")

    decide_by(monkeypatch, refuse)
    host, runs = FakeHost(), LiveRuns()
    with pytest.raises(zoodip().Error, match="did you mean 'n'"):
        learn(chosen(wanted, nn=3), PLACE, store, runs, host)
    assert (host.events[-1]["state"], host.events[-1]["step"]) == ("failed", 0)
    assert "did you mean 'n'" in host.events[-1]["message"]
    kept = store.record(store.node_run("graph", "7"))
    assert (kept.state, kept.message) == ("failed", host.events[-1]["message"])
    assert runs.current() is None


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"nn": 3}, "there is no 'nn'; did you mean 'n'"),
        ({"lerning_rate": 0.1}, "did you mean 'learning_rate'"),
        ({"n": 65}, "n: needs a whole number from 1 to 64, got 65"),
        ({"method": "magic"}, "method: needs one of rge, spsa"),
    ],
)
def test_settings_that_are_none_are_refused(wanted, settings, says):
    """What another node may put on the wire."""
    with pytest.raises(zoodip().Error, match=says):
        graph().memory(wanted.weights, {**wanted.settings, **settings})


# Passes, the best word, and runs that end otherwise.


def test_passes_and_the_best_word_are_kept(wanted, store):
    host = FakeHost()
    checked = chosen(wanted, validate_every=10, batch=2)
    learned = learn(checked, PLACE, store, LiveRuns(), host)
    last, key = host.events[-1], key_of(checked)
    assert last["passes"] == STEPS * 2 * 3
    assert last["best_step"] in (10, 20, 30, 40)
    kept = store.record(key)
    assert (kept.passes, kept.best_step) == (last["passes"], last["best_step"])
    best = store.token_path(key).with_name("token.best.safetensors")
    assert module.read_token(best).metadata["step"] == str(last["best_step"])
    if last["best_step"] < STEPS:
        assert str(best) in last["message"]
    assert learned.token.metadata["step"] == str(STEPS)  # the last one goes on


def test_a_run_that_validation_ends_early_is_finished_and_says_so(wanted, store):
    """With a word that hardly moves nothing better is found for long."""
    idle = chosen(wanted, steps=3000, validate_every=2, early_stop=1, learning_rate=1e-8)
    host = FakeHost()
    learned = learn(idle, PLACE, store, LiveRuns(), host)
    assert learned.finished and learned.steps < 3000
    assert host.events[-1]["state"] == "finished"
    assert f"Ended early at step {learned.steps}" in host.events[-1]["message"]
    again = FakeHost()
    assert learn(idle, PLACE, store, LiveRuns(), again).steps == learned.steps
    assert again.states[-1] == "reused"


def test_a_run_that_diverges_says_so_and_leaves_its_last_good_word(wanted, store):
    """Half its own mean is what every loss exceeds, once it is judged."""
    wild = chosen(wanted, steps=LONG, divergence=0.5)
    host = FakeHost()
    with pytest.raises(zoodip().Error, match="the loss diverges"):
        learn(wild, PLACE, store, LiveRuns(), host)
    last, key = host.events[-1], key_of(wild)
    assert last["state"] == "failed"
    assert "the loss diverges" in last["message"]
    assert str(store.token_path(key)) in last["message"]
    assert store.unfinished(key) is None
    assert f"step {module.read_token(store.token_path(key)).metadata['step']} " in last["message"]


def test_a_word_of_several_vectors(wanted, store):
    """Two initialisers, each with its place in the caption."""
    text = ids("a photo of a big dog")
    places = text.ids.clone()
    places[0, 5:7] = 0
    picture = replace(wanted.pictures[0], caption="a photo of a {}", text=graph().Text(places, [5]))
    start = text.ids[0, 5:7].tolist()
    several = replace(wanted, initialiser=("big dog", start), pictures=[picture])
    learned = learn(several, PLACE, store, LiveRuns(), FakeHost())
    assert learned.token.vectors["clip_l"].shape[0] == 2

    earlier = learned.token.vectors["clip_l"]
    onwards = replace(several, initialiser=("sks", {"clip_l": earlier}), word="zwx")
    assert learn(onwards, PLACE, store, LiveRuns(), FakeHost()).token.vectors[
        "clip_l"
    ].shape == tuple(earlier.shape)


def test_the_node_says_what_it_multiplies_in_and_why(wanted, store, monkeypatch):
    monkeypatch.undo()  # as the engine itself decides
    monkeypatch.setenv("ZOODIP_COMPUTE", "fp32")
    host = FakeHost()
    settings = {name: value for name, value in wanted.settings.items() if name != "compute"}
    learn(replace(wanted, settings=settings), PLACE, store, LiveRuns(), host)
    told = host.events[-1]
    assert told["compute"] == "fp32"
    assert "as ZOODIP_COMPUTE says" in told["compute_choice"]
    # What was chosen has no reason but that.
    learn(replace(wanted, settings=settings | {"compute": "bf16"}), PLACE, store, LiveRuns(), host)
    assert host.events[-1]["compute"] == "bf16"
    assert host.events[-1]["compute_choice"] is None
