"""Stand-ins for ComfyUI around the jobs of a folder, and a training that takes a second."""

from __future__ import annotations

import json
import threading
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import torch
from comfyui_zoodip.node.jobs import EVENT, Jobs
from comfyui_zoodip.node.native import graph, zoodip
from comfyui_zoodip.node.token import read_token
from comfyui_zoodip.node.training import Subject, Training, learn

STEPS = 40
ENDLESS = 10**6
DOG = 1929
NODE, WORKFLOW = "7", "graph"


class Interruption(Exception):
    """ComfyUI's InterruptProcessingException."""


class FakeHost:
    """Records what it is asked. `on_bar` is called in the training's thread, with this and a step,
    whenever the bar moves: at the first step, at the last, four times a second between."""

    def __init__(self, on_bar=lambda host, step: None):
        self.calls, self.shown, self.on_bar = [], [], on_bar
        self.cancel = lambda: None
        self.bar_raises = False

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
            if jpeg is not None:
                self.shown.append((step, jpeg))
                return
            self.on_bar(self, step)
            if self.bar_raises:
                raise Interruption

        return move


def at_step(step, act):
    """An `on_bar` that acts once, when the bar moves from that step on."""
    done = []

    def on_bar(host, reached):
        if reached >= step and not done:
            done.append(reached)
            act(host)

    return on_bar


class House:
    """The jobs of a ComfyUI, and what its page is told."""

    def __init__(self, root: Path, environment: dict[str, str] | None = None, device="cpu"):
        self.root, self.events = root, []
        self.on_event = lambda event: None
        self.told = threading.Condition()
        folder = root.parent
        options = {"models": [folder], "images": [folder], "defaults": {"device": device}}
        self.jobs = Jobs(root, lambda: options, self._send, environment or {})

    def _send(self, event, payload):
        assert event == EVENT
        with self.told:
            self.events.append(payload)
            self.told.notify_all()
        self.on_event(payload)

    def ends(self):
        self.jobs.end()

    def wait_for(self, condition) -> dict:
        """The first event that is so."""
        with self.told:
            found = self.told.wait_for(lambda: next(filter(condition, self.events), None), 60)
        assert found, self.events[-1:]
        return found

    def begins(self, word="sks", steps=STEPS, node=NODE, workflow=WORKFLOW):
        """What a node does first."""
        place = {"node": node, "workflow": workflow, "prompt": "prompt"}
        return self.jobs.beginning(word, steps, place, Interruption)

    def learn(self, training: Training, host: FakeHost | None = None, node=NODE):
        """As a node does it: zoodip.graph.Learned with the token as it is read. Forgets what was
        told before."""
        return self.learn_all(training, host, node)[0]

    def learn_all(self, training: Training, host: FakeHost | None = None, node=NODE):
        """Of each subject what it learned."""
        self.events.clear()
        steps = training.settings.get("steps", 0)
        with ExitStack() as stack:
            jobs = [
                stack.enter_context(self.begins(subject.word, steps, f"{node}/{i}" if i else node))
                for i, subject in enumerate(training.subjects)
            ]
            learned = learn(jobs, training, node, host or FakeHost())
            return [replace(each, token=read_token(each.token)) for each in learned]

    def named(self, training: Training, host: FakeHost | None = None) -> dict:
        """The job of a training, which is interrupted as soon as it has a key."""
        with suppress(Interruption), self.begins() as job:
            job.cancel()
            learn([job], training, NODE, host or FakeHost())
        return self.shown()

    # What was told.

    @property
    def states(self):
        """Each state once, in order."""
        return list(dict.fromkeys(event["state"] for event in self.events))

    @property
    def last(self):
        return self.events[-1]

    def steps_made(self):
        """The steps that were made, not those that were taken over."""
        made = [event for event in self.events if event["state"] != "queued"]
        return {point[0] for event in made for point in event["points"]}

    def gone_on_from(self):
        """The step from which the training went on."""
        return max(event["step"] for event in self.events if event["state"] == "queued")

    # What is kept.

    def ask(self, path, method="GET", body=None):
        """(status, the JSON or the bytes) of the API."""
        data = b"" if body is None else json.dumps(body).encode()
        headers = [("content-type", "application/json"), ("content-length", str(len(data)))]
        headers = headers if method == "POST" else []
        answer = self.jobs.service().answer(method, path, headers, data)
        is_json = answer.content_type.endswith("json")
        return answer.status, json.loads(answer.body) if is_json else answer.body

    def get(self, path):
        status, answer = self.ask(path)
        assert status == 200, answer
        return answer

    def post(self, path, body=None):
        status, answer = self.ask(path, "POST", body)
        assert status in (200, 202), answer
        return answer

    def shown(self, node=NODE, workflow=WORKFLOW):
        """The job that a node shows, with its curve; None where it shows none."""
        found = self.get(f"/v1/jobs?node={node}&workflow={workflow}")["jobs"]
        return self.get(f"/v1/jobs/{found[0]['id']}/curve") if found else None

    def stop(self, node=NODE):
        self.post(f"/v1/jobs/{self.shown(node)['id']}/stop")

    def folder(self, key) -> Path:
        return self.root / "runs" / key

    def token_path(self, key) -> Path:
        return self.folder(key) / "token.safetensors"

    def state_path(self, key) -> Path:
        return self.folder(key) / "token.state.safetensors"

    def record(self, key) -> dict:
        return json.loads((self.folder(key) / "job.json").read_text())

    def change_record(self, key, **values):
        file = self.folder(key) / "job.json"
        file.write_text(json.dumps(self.record(key) | values))


def ids(text, place=None):
    found = torch.tensor([zoodip()._native.Tokenizer().encode_prompt(text)])
    if place is not None:
        found[0, place] = 0
    return graph().Text(found, [] if place is None else [place])


def a_training(checkpoint: Path) -> Training:
    pixels = torch.randint(0, 256, (64, 64, 3), generator=torch.Generator().manual_seed(0))
    picture = graph().Picture(
        "picture 1", pixels.to(torch.uint8), "0" * 64, "a photo of a {}", ids("a photo of a dog", 5)
    )
    return Training(
        weights=checkpoint,
        digest="d" * 64,
        subjects=[Subject([picture], "sks", ("dog", [DOG]))],
        empty_text=ids(""),
        settings={"resolution": 64, "device": "cpu", "threads": 1, "steps": STEPS},
    )


def about(training, **changes):
    """The training with another word, initialiser or pictures."""
    return replace(training, subjects=[replace(training.subjects[0], **changes)])


def chosen(training, **settings):
    """The training with other settings."""
    return replace(training, settings={**training.settings, **settings})


@contextmanager
def in_thread(work, *arguments):
    """Runs it until the block's end, which has to make it end; what it raised is in the list."""
    raised = []

    def run():
        try:
            work(*arguments)
        except Exception as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield raised
    finally:
        thread.join(60)
    assert not thread.is_alive()


def makes_steps(event):
    """Of those that wait, too, points may be told: of what they go on from."""
    return event["state"] == "running" and event["points"]


@contextmanager
def in_training(house, training, node="1"):
    """Another node trains meanwhile."""
    with in_thread(house.learn, training, None, node) as raised:
        house.wait_for(lambda event: makes_steps(event) and event["graph"]["node"] == node)
        try:
            yield
        finally:
            house.stop(node)
    assert not raised, raised


class Rest:
    """An event for which nobody waits in vain."""

    rested: list[float]

    def wait(self, seconds):
        self.rested.append(seconds)


class Threading:
    """The module, with another Event."""

    def __init__(self, event):
        self.Event = event

    def __getattr__(self, name):
        return getattr(threading, name)
