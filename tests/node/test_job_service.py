"""The jobs inside the host: when scripts have an address, how trainings share the device, what an
earlier version left, and the end of the host."""

from __future__ import annotations

import base64
import json
import socket
import threading
import urllib.error
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import pytest
from comfyui_zoodip.node import jobs as jobs_module
from comfyui_zoodip.node.files import read_json
from comfyui_zoodip.node.jobs import asked_port
from comfyui_zoodip.node.native import part
from trainings import (
    ENDLESS,
    FakeHost,
    Interruption,
    Rest,
    Threading,
    chosen,
    in_thread,
    in_training,
)


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
def make(make_house, port):
    """Jobs whose environment asks for an address; all are ended at the test's end."""
    return lambda environment=None: make_house(
        environment={"ZOODIP_HTTP": str(port)} if environment is None else environment
    )


def ask(url: str, path: str, method: str = "GET", token: str = "") -> dict:
    request = urllib.request.Request(url + path, method=method)
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


# When scripts have an address.


@pytest.mark.parametrize(
    ("value", "port"),
    [("", None), ("  ", None), ("0", 0), ("off", 0), ("1", 77), ("On", 77), ("8643", 8643)],
)
def test_what_the_environment_asks_for(value, port):
    assert asked_port({"ZOODIP_HTTP": value}, 77) == port
    assert asked_port({}, 77) is None


@pytest.mark.parametrize("value", ["70000", "-1", "yes please", "1.5", "٣"])
def test_what_the_environment_cannot_ask_for(value):
    with pytest.raises(ValueError, match="ZOODIP_HTTP: needs 1, 0 or a port, got"):
        asked_port({"ZOODIP_HTTP": value}, 77)


def test_it_is_off_unless_something_says_otherwise(make):
    house = make({})
    house.jobs.begin()
    assert house.jobs.state == {
        "enabled": False,
        "url": None,
        "problem": "",
        "decided_by_environment": False,
    }
    assert not house.root.exists()  # nothing was opened
    house.jobs.service()
    assert house.jobs.state["url"] is None


def test_the_environment_turns_it_on(make, port):
    jobs = make().jobs
    jobs.begin()
    assert jobs.state == {
        "enabled": False,
        "url": f"http://127.0.0.1:{port}",
        "problem": "",
        "decided_by_environment": True,
    }
    assert ask(jobs.state["url"], "/v1/health")["status"] == "ok"


def test_scripts_may_need_a_token_which_the_page_does_not(make, port):
    token = "a token of more than 16".replace(" ", "-")
    house = make({"ZOODIP_HTTP": str(port), "ZOODIP_TOKEN": token})
    house.jobs.begin()
    url = house.jobs.state["url"]
    with pytest.raises(urllib.error.HTTPError, match="401"):
        ask(url, "/v1/jobs")
    assert ask(url, "/v1/jobs", token=token) == {"jobs": []}
    assert house.get("/v1/jobs") == {"jobs": []}


def test_a_token_that_is_too_short_is_a_problem_and_no_more(make, port):
    jobs = make({"ZOODIP_HTTP": str(port), "ZOODIP_TOKEN": "short"}).jobs
    jobs.begin()
    assert "16 to 1024 visible ASCII characters" in jobs.state["problem"]
    assert jobs.state["url"] is None


def test_the_setting_is_kept_and_the_environment_goes_before_it(make):
    make({"ZOODIP_HTTP": "0"}).jobs.set_enabled(True)
    again = make({"ZOODIP_HTTP": "0"}).jobs
    again.begin()
    assert again.state["enabled"] is True
    assert again.state["url"] is None
    assert again.state["decided_by_environment"] is True


def test_the_setting_turns_it_on_and_off(make, port, monkeypatch):
    monkeypatch.setattr(part("service"), "DEFAULT_PORT", port)
    first = make({})
    first.jobs.set_enabled(True)
    url = f"http://127.0.0.1:{port}"
    assert first.jobs.state["url"] == url
    first.jobs.set_enabled(True)  # as it was
    assert ask(url, "/v1/health")["status"] == "ok"
    first.ends()

    second = make({})
    second.jobs.begin()
    assert second.jobs.state == {
        "enabled": True,
        "url": url,
        "problem": "",
        "decided_by_environment": False,
    }
    second.jobs.set_enabled(False)
    assert (second.jobs.state["enabled"], second.jobs.state["url"]) == (False, None)
    with pytest.raises(OSError):
        ask(url, "/v1/health")
    third = make({})
    third.jobs.begin()
    assert third.jobs.state["url"] is None


def test_a_setting_that_cannot_be_kept_is_an_error_and_changes_nothing(make, port):
    house = make({})
    house.root.write_bytes(b"")
    with pytest.raises(OSError):
        house.jobs.set_enabled(True)
    assert house.jobs.state["url"] is None


def test_a_port_that_is_taken_is_a_problem_and_no_more(make, port):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        house = make()
        house.jobs.begin()
        problem = house.jobs.state["problem"]
        assert f"port {port}: another program does" in problem
        assert "ZOODIP_HTTP=PORT" in problem and "HTTP API for scripts" in problem
        assert "--port" not in problem  # there is no such command line here
        assert house.get("/v1/health")["status"] == "ok"  # on ComfyUI's own server
    house.jobs.set_enabled(True)  # as the problem says
    assert (house.jobs.state["url"], house.jobs.state["problem"]) == (
        f"http://127.0.0.1:{port}",
        "",
    )


def test_a_wrong_variable_is_a_problem_and_no_more(make):
    house = make({"ZOODIP_HTTP": "maybe"})
    house.jobs.begin()
    assert "ZOODIP_HTTP" in house.jobs.state["problem"]
    assert house.get("/v1/health")["status"] == "ok"


def test_without_an_engine_it_is_a_problem_and_no_more(make, monkeypatch):
    monkeypatch.setattr(jobs_module, "engine_problem", lambda: "no engine: run install.py")
    jobs = make().jobs
    jobs.begin()
    assert jobs.state["problem"] == "no engine: run install.py"
    with pytest.raises(RuntimeError, match="run install.py"):
        jobs.service()
    jobs.set_enabled(True)
    assert (jobs.state["enabled"], jobs.state["url"]) == (True, None)
    jobs.end()


def test_the_end_gives_the_port_back(make):
    jobs = make().jobs
    jobs.begin()
    url = jobs.state["url"]
    jobs.end()
    assert jobs.state["url"] is None
    with pytest.raises(OSError):
        ask(url, "/v1/health")
    again = make().jobs
    again.begin()
    assert ask(url, "/v1/health")["status"] == "ok"


def test_turning_it_off_lets_trainings_go_on(make, wanted, port, monkeypatch):
    monkeypatch.setattr(part("service"), "DEFAULT_PORT", port)
    house = make({})
    house.jobs.set_enabled(True)
    with in_training(house, chosen(wanted, steps=ENDLESS)):
        house.jobs.set_enabled(False)
        reached = house.shown("1")["step"]
        house.wait_for(lambda event: event["step"] > reached)
        assert house.shown("1")["state"] == "running"
    assert house.shown("1")["state"] == "stopped"


# Trainings of graphs and jobs of scripts share the device.


@pytest.fixture
def material(tmp_path, checkpoint):
    """What a script names: the model, and a folder with a picture."""
    from PIL import Image

    (tmp_path / "tiny.safetensors").symlink_to(checkpoint)
    (tmp_path / "dog").mkdir()
    Image.new("RGB", (64, 64), "red").save(tmp_path / "dog" / "1.png")
    settings = {"steps": ENDLESS, "resolution": 64, "threads": 1, "validate_every": 0}
    return {
        "model": "tiny.safetensors",
        "images": "dog",
        "word": "zwx",
        "init": "dog",
        "settings": settings,
    }


def test_a_graph_waits_for_the_job_of_a_script(wanted, house, material):
    job = house.post("/v1/jobs", material)["id"]
    house.wait_for(lambda event: event["id"] == job and event["step"] > 0)
    waiting = []

    def cancel_the_job(event):
        if event["stage"] == "waiting for another training":
            waiting.append((event["state"], house.get(f"/v1/jobs/{job}")["state"]))
            # In another thread: who is told must not wait for who tells.
            with in_thread(house.post, f"/v1/jobs/{job}/cancel"):
                house.on_event = lambda event: None

    house.on_event = cancel_the_job
    assert house.learn(wanted).finished
    assert waiting == [("queued", "running")]
    assert house.get(f"/v1/jobs/{job}")["state"] == "cancelled"


def test_the_job_of_a_script_waits_for_a_graph(wanted, house, material):
    material["settings"]["steps"] = 2
    with in_training(house, chosen(wanted, steps=ENDLESS)):
        job = house.post("/v1/jobs", material)["id"]
        told = house.get(f"/v1/jobs/{job}")
        assert (told["state"], told["position"], told["graph"]) == ("queued", 0, None)
        reached = house.shown("1")["step"]
        house.wait_for(lambda event: event["step"] > reached)
        assert house.get(f"/v1/jobs/{job}")["state"] == "queued"
    ended = house.wait_for(lambda event: event["id"] == job and event["state"] == "finished")
    assert ended["step"] == 2
    assert house.shown("1")["id"] != job  # which no node shows


# The end of the host.


def test_the_host_can_end_during_a_training(wanted, house, make_house, monkeypatch):
    """What is registered for the interpreter's end: stops, keeps, and waits for the thread, which
    goes no further."""
    Rest.rested = []
    monkeypatch.setattr(jobs_module, "threading", Threading(Rest))
    long = chosen(wanted, steps=ENDLESS)
    with in_thread(house.learn, long) as raised:
        house.wait_for(lambda event: event["step"] >= 2)
        house.ends()
        assert house.last["state"] == "stopped"
        assert house.state_path(house.last["id"]).is_file()
    assert raised == []
    assert Rest.rested == [60]
    with pytest.raises(RuntimeError, match="ComfyUI is ending"):
        house.learn(wanted)
    house.ends()
    assert make_house().shown()["state"] == "stopped"


def test_what_begins_while_the_host_ends_is_stopped_at_once(wanted, house, monkeypatch):
    """Between the stop of all that runs and the end of the last of it."""
    Rest.rested = []
    monkeypatch.setattr(jobs_module, "threading", Threading(Rest))
    late = []
    with in_thread(house.learn, chosen(wanted, steps=ENDLESS)):
        house.wait_for(lambda event: event["step"] >= 2)
        service = house.jobs.service()
        stop_graphs = service.stop_graphs

        def stop_and_begin(seconds):
            stopped = stop_graphs(seconds)
            with pytest.raises(Interruption):
                house.learn(chosen(wanted, steps=ENDLESS, seed=9), node="8")
            late.append(house.shown("8"))
            return stopped

        monkeypatch.setattr(service, "stop_graphs", stop_and_begin)
        house.ends()
    assert late[0]["state"] == "interrupted" and late[0]["step"] == 0
    assert len(Rest.rested) == 2


def test_the_end_waits_for_what_goes_on_after_its_training(house, monkeypatch):
    """A node loads a model after it has learned; it is not to do that while the process ends."""
    Rest.rested = []
    monkeypatch.setattr(jobs_module, "threading", Threading(Rest))
    service, begun, closed = house.jobs.service(), threading.Event(), threading.Event()
    monkeypatch.setattr(service, "stop_graphs", lambda seconds: begun.set())
    close = service.close
    monkeypatch.setattr(service, "close", lambda: (close(), closed.set()))
    node = ExitStack()
    node.enter_context(house.jobs.learning())
    with node, in_thread(house.jobs.end, 60) as raised:
        assert begun.wait(60)
        assert not closed.wait(0.2)
        node.close()
        assert closed.wait(60)
    assert raised == []
    assert Rest.rested == [60]


def test_the_end_waits_no_longer_than_it_is_told_to(house, monkeypatch):
    monkeypatch.setattr(jobs_module, "threading", Threading(Rest))
    house.jobs.service()
    with house.jobs.learning(), in_thread(house.jobs.end, 0.01) as raised:
        pass
    assert raised == []


# What an earlier version left.

A, B, API = "a" * 64, "b" * 64, "0123456789abcdef"

RUN = {
    "key": A,
    "word": "sks",
    "state": "finished",
    "step": 3,
    "steps": 3,
    "message": "The word of step 2 had the lowest validation loss.",
    "node": "1",
    "workflow": "w",
    "prompt": "p",
    "preview_percent": 5.0,
    "preview_step": 2,
    "passes": 9,
    "best_step": 2,
    "compute": "fp32",
    "compute_choice": "compute auto takes fp32",
    "lineage": "c" * 64,
    "created": 1790000000.0,
}
KILLED = {
    **RUN,
    "key": B,
    "word": "zwx",
    "state": "training",
    "step": 0,
    "steps": 9,
    "message": "",
    "node": "2",
    "prompt": "q",
    "preview_percent": 0.0,
    "created": 1790000001.0,
} | dict.fromkeys(["preview_step", "passes", "best_step", "compute", "compute_choice", "lineage"])
CURVE = (
    "Wk9DVVJWRTEDAAAAAAAAAGiBd+YAAAAAAADwPwAAAAAAAOA/AAAAAAAA+H8AAAAAAAAAQAAAAAAAANA/AAAAAAAA4D8A"
    "AAAAAAAIQAAAAAAAAPh/AAAAAAAA2D8="
)
VALIDATIONS = (
    "Wk9DVVJWRTECAAAAAAAAACtE2uQAAAAAAAAAAAAAAAAAAOg/AAAAAAAA+H8AAAAAAAAAQAAAAAAAAMA/AAAAAAAA+H8="
)
NO_POINTS = "Wk9DVVJWRTEAAAAAAAAAAAAAAAA="
JOB = {
    "id": API,
    "sequence": 4,
    "origin": "api",
    "device": "cpu",
    "model": "m.safetensors",
    "images": "dog",
    "word": "toy",
    "init": "dog",
    "settings": {},
    "model_file": "/m.safetensors",
    "images_folder": "/dog",
    "state": "finished",
    "wish": "none",
    "created": 1790000002000,
    "started": 1790000003000,
    "ended": 1790000004000,
    "progress": {"stage": "", "step": 2, "steps": 2, "loss": 0.5, "smooth_loss": 0.5},
    "message": "",
    "token": "token.safetensors",
}


@pytest.fixture
def earlier(tmp_path) -> Path:
    """A folder as it was when nodes had a store of their own."""
    root = tmp_path / "zoodip"
    files = {
        f"runs/{A}/run.json": json.dumps(RUN),
        f"runs/{A}/curve.bin": base64.b64decode(CURVE),
        f"runs/{A}/validations.bin": base64.b64decode(VALIDATIONS),
        f"runs/{A}/preview.jpg": b"\xff\xd8jpeg",
        f"runs/{A}/token.safetensors": b"word",
        f"runs/{A}/token.state.safetensors": b"state",
        f"runs/{B}/run.json": json.dumps(KILLED),
        f"runs/{B}/curve.bin": base64.b64decode(NO_POINTS),
        f"runs/{B}/validations.bin": base64.b64decode(NO_POINTS),
        f"locks/{B}.lock": "",
        f"jobs/{API}/job.json": json.dumps(JOB),
        f"jobs/{API}/token.safetensors": b"toy",
        "jobs/.lock": "",
        "store.json": '{"limit_mb": 64}',
        "nodes.json": json.dumps({"nodes": [["w", "1", A], ["w", "2", B], ["a copy", "4", A]]}),
        "http.json": '{"enabled": false}',
    }
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def test_the_runs_of_an_earlier_version_are_found_by_their_nodes(earlier, house):
    shown = house.shown("1", "w")
    assert (shown["id"], shown["state"], shown["word"]) == (A, "finished", "sks")
    assert shown["origin"] == "graph" and not shown["reused"]
    for name in ("step", "steps", "message", "passes", "best_step", "compute", "compute_choice"):
        assert shown[name] == RUN[name], name
    assert shown["created"] == "2026-09-21T14:13:20.000Z"
    assert (shown["graph"]["node"], shown["graph"]["preview_percent"]) == ("4", 5.0)
    assert shown["points"] == [[1, 0.5, None], [2, 0.25, 0.5], [3, None, 0.375]]
    assert shown["validations"] == [[0, 0.75], [2, 0.125]]
    assert shown["preview"]["step"] == 2
    assert house.get(shown["preview"]["url"]) == b"\xff\xd8jpeg"
    # Also by a copy that showed it, and after that in every later process.
    assert house.shown("4", "a%20copy")["id"] == A
    assert house.shown("1", "another") is None


def test_a_run_that_was_killed_under_an_earlier_version_is_told_so(earlier, house):
    shown = house.shown("2", "w")
    assert (shown["id"], shown["state"], shown["points"]) == (B, "interrupted", [])
    assert shown["message"].startswith("The program ended during this training")


def test_an_earlier_layout_is_moved_once_and_counted(earlier, make_house):
    house = make_house()
    assert house.get(f"/v1/jobs/{API}")["word"] == "toy"
    assert house.get(f"/v1/jobs/{API}/token") == b"toy"
    store = house.get("/v1/store")
    assert (store["jobs"], store["limit_mb"]) == (3, 64)
    assert store["bytes"] > len(json.dumps(RUN)) + 200
    assert sorted(path.name for path in earlier.iterdir()) == ["http.json", "runs"]
    house.ends()
    again = make_house()
    assert again.get("/v1/store") == store
    assert again.shown("4", "a%20copy")["id"] == again.shown("1", "w")["id"] == A
    assert read_json(earlier / "runs" / "store.json") == {"limit_mb": 64}


def test_what_an_earlier_version_kept_is_cleared(earlier, house):
    status, store = house.ask("/v1/store", "DELETE")
    assert (status, store) == (200, {"jobs": 0, "bytes": 0, "limit_mb": 64})
    assert house.shown("1", "w") is None
    assert [path.name for path in (earlier / "runs").iterdir() if path.is_dir()] == []


def test_a_job_that_cannot_be_moved_is_not_lost(earlier, make_house):
    """A folder of its name that is in the way stands for any reason."""
    other = "fedcba9876543210"
    (earlier / "runs" / API / "in the way").mkdir(parents=True)
    (earlier / "jobs" / other).mkdir()
    (earlier / "jobs" / other / "job.json").write_text(json.dumps(JOB | {"id": other}))
    house = make_house()
    assert house.get(f"/v1/jobs/{other}")["word"] == "toy"
    kept = earlier / "jobs" / API / "token.safetensors"
    assert kept.read_bytes() == b"toy"
    house.ends()
    (earlier / "runs" / API / "in the way").rmdir()
    assert make_house().get(f"/v1/jobs/{API}/token") == b"toy"


@pytest.mark.parametrize("nodes", ["", "[]", '{"nodes": [["w", "1"]]}', '{"nodes": [[1, {}, []]]}'])
def test_a_damaged_list_of_places_takes_nothing(earlier, house, nodes):
    (earlier / "nodes.json").write_text(nodes)
    assert house.shown("1", "w")["id"] == A  # by its record
    assert not (earlier / "nodes.json").exists()


def test_a_new_folder_is_made_when_it_is_needed(house, wanted):
    assert not house.root.exists()
    house.learn(wanted, FakeHost())
    assert [path.name for path in house.root.iterdir()] == ["runs"]
