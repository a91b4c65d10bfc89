"""The HTTP API in a real ComfyUI: scripts and graphs share the device."""

import sys
import threading

import pytest
from comfy import REPOSITORY, Comfy, free_port, wait_for
from graphs import run, succeeded, token_file, training

sys.path.append(str(REPOSITORY / "native" / "python"))

from zoodip.client import ApiError, Client  # noqa: E402

DEMO_PICTURES = REPOSITORY / "demo" / "subjects" / "blue_spotted_dog"
MODEL = "zoodip-demo.safetensors"
STEPS = 30


@pytest.fixture(scope="module")
def serving(tmp_path_factory):
    """A ComfyUI with the API on, and a client of it."""
    port = free_port()
    comfy = Comfy.start(tmp_path_factory.mktemp("api"), env={"ZOODIP_HTTP": str(port)})
    succeeded(comfy, training(3, "first"))  # which unpacks the demo model where it is not yet
    yield comfy, Client(f"http://127.0.0.1:{port}")
    comfy.stop()


def train(client: Client, steps: int):
    return client.train(MODEL, DEMO_PICTURES, "zwy", "dog", steps=steps)


def test_it_is_off_by_default_and_a_route_turns_it_on_and_off(comfy):
    assert comfy.get("/zoodip/api")["url"] is None
    for enabled in (True, False):
        state = comfy.post("/zoodip/api", {"enabled": enabled})
        assert state["enabled"] is enabled, state
        # Another program may have the default port.
        assert bool(state["url"] or state["problem"]) is enabled


def test_a_script_trains_on_what_comfyui_has(serving):
    _, client = serving
    assert MODEL in client.models()
    job = client.wait(train(client, STEPS).id, 120)
    assert (job.state, job.step, job.message) == ("finished", STEPS, "")
    assert client.token(job.id)[8:9] == b"{"  # a safetensors header


def test_a_graphs_training_is_seen_by_scripts_and_its_word_can_be_fetched(serving):
    comfy, client = serving
    ran = succeeded(comfy, training(STEPS, "watched"))
    job = client.jobs()[0]
    assert (job.origin, job.word, job.state) == ("graph", "watched", "finished")
    assert (job.step, job.steps) == (STEPS, STEPS)
    kept = token_file(comfy, ran.progress[-1]["id"]).read_bytes()
    assert client.token(job.id) == kept
    states = [event.data["state"] for event in client.events(job.id) if event.name == "state"]
    assert states == ["queued", "running", "finished"]


def test_a_graph_waits_for_a_script_and_says_so(serving):
    comfy, client = serving
    job = train(client, 1_000_000)
    wait_for(lambda: client.job(job.id).step > 0, 60, "the script's first step")
    waits = threading.Event()

    def look(payload):
        if payload["stage"] == "waiting for another training" and not waits.is_set():
            waits.set()
            client.cancel(job.id)

    ran = run(comfy, training(STEPS, "patient"), on=look)
    assert waits.is_set()
    assert ran.progress[-1]["state"] == "finished"
    assert client.job(job.id).state == "cancelled"


def test_a_waiting_graph_obeys_interrupt(serving):
    comfy, client = serving
    job = train(client, 1_000_000)
    wait_for(lambda: client.job(job.id).step > 0, 60, "the script's first step")

    def look(payload):
        if payload["stage"] == "waiting for another training":
            comfy.interrupt()

    assert run(comfy, training(STEPS, "impatient"), on=look).end == "interrupted"
    assert client.jobs()[0].state == "interrupted"
    assert client.job(job.id).state == "running"
    assert client.stop(job.id).state in ("running", "stopped")
    assert client.wait(job.id, 60).state == "stopped"


def test_a_script_stops_a_graph_which_goes_on_with_the_word(serving):
    comfy, client = serving

    def look(payload):
        if payload["state"] == "training" and payload["step"] > 5:
            try:
                client.stop(client.jobs()[0].id)
            except ApiError as error:
                assert error.status == 409  # it has ended since

    ran = run(comfy, training(5000, "halted"), on=look)
    assert ran.end == "success"
    assert ran.progress[-1]["state"] == "stopped"
    assert client.jobs()[0].state == "stopped"
