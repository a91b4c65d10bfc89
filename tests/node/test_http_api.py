"""The HTTP API inside the host: when it runs, and how a graph's training shares the device."""

from __future__ import annotations

import json
import socket
import threading
import urllib.error
import urllib.request

import pytest
from comfyui_zoodip.node.http_api import HttpApi, asked_port
from comfyui_zoodip.node.live import LiveRun
from comfyui_zoodip.node.native import engine_problem, zoodip
from comfyui_zoodip.node.turn import Turn

TRAINING = {"model": "m", "word": "sks", "init": "dog", "settings": {}, "device": "cpu"}


@pytest.fixture(scope="module", autouse=True)
def _engine():
    problem = engine_problem()
    if problem is not None:
        pytest.skip(problem)


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
def make(tmp_path, port):
    """An API of this folder; all are ended at the test's end."""
    made = []

    def build(environment=None, **options) -> HttpApi:
        folders = {"models": [tmp_path], "images": [tmp_path]} | options
        given = {"ZOODIP_HTTP": str(port)} if environment is None else environment
        made.append(HttpApi(tmp_path / "zoodip", lambda: folders, given))
        return made[-1]

    yield build
    for api in made:
        api.end()


def ask(url: str, path: str, method: str = "GET") -> dict:
    request = urllib.request.Request(url + path, method=method)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


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


def test_it_is_off_unless_something_says_otherwise(make, tmp_path):
    api = make({})
    api.begin()
    assert api.state == {
        "enabled": False,
        "url": None,
        "problem": "",
        "decided_by_environment": False,
    }
    assert api.enter(**TRAINING) is None
    assert not (tmp_path / "zoodip").exists()


def test_the_environment_turns_it_on(make, port):
    api = make()
    api.begin()
    assert api.state["url"] == f"http://127.0.0.1:{port}"
    assert ask(api.state["url"], "/v1/health")["status"] == "ok"


def test_the_setting_is_kept_and_the_environment_goes_before_it(make):
    make({"ZOODIP_HTTP": "0"}).set_enabled(True)
    again = make({"ZOODIP_HTTP": "0"})
    again.begin()
    assert again.state["enabled"] is True
    assert again.state["url"] is None
    assert again.state["decided_by_environment"] is True


def test_a_port_that_is_taken_is_a_problem_and_no_more(make, port):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        api = make()
        api.begin()
        problem = api.state["problem"]
        assert f"port {port}: another program does" in problem
        assert "ZOODIP_HTTP=PORT" in problem and "HTTP API for scripts" in problem
        assert "--port" not in problem  # there is no such command line here
        assert api.enter(**TRAINING) is None


def test_a_wrong_variable_is_a_problem_and_no_more(make):
    api = make({"ZOODIP_HTTP": "maybe"})
    api.begin()
    assert "ZOODIP_HTTP" in api.state["problem"]


def test_turning_it_off_gives_the_port_back(make, port):
    api = make()
    api.begin()
    url = api.state["url"]
    api.end()
    with pytest.raises(OSError):
        ask(url, "/v1/health")
    make().begin()
    assert ask(url, "/v1/health")["status"] == "ok"


def live_run() -> LiveRun:
    return LiveRun("a" * 64, "1", "w", "p", "sks", 9, 0, lambda *_: None)


def test_a_second_training_waits_for_the_first_and_can_be_watched(make):
    api = make()
    api.begin()
    first, second = (Turn(api.enter(**TRAINING)) for _ in range(2))
    first.wait(live_run())
    live, begun = live_run(), threading.Event()
    thread = threading.Thread(target=lambda: (second.wait(live), begun.set()))
    thread.start()
    first.step(3, 9, 0.5, 0.25)
    jobs = ask(api.state["url"], "/v1/jobs")["jobs"]
    assert [(job["state"], job["origin"], job["step"]) for job in jobs] == [
        ("queued", "graph", 0),
        ("running", "graph", 3),
    ]
    assert not begun.is_set()
    first.end("finished", "")
    assert begun.wait(20)
    assert live.payload["stage"] == "waiting for another training"
    second.end("failed", "why")
    thread.join()
    assert ask(api.state["url"], "/v1/jobs")["jobs"][0]["message"] == "why"


@pytest.mark.parametrize(("path", "wished"), [("stop", True), ("cancel", False)])
def test_a_script_stops_a_graphs_training(make, path, wished):
    api = make()
    api.begin()
    turn = Turn(api.enter(**TRAINING))
    turn.wait(live_run())
    [job] = ask(api.state["url"], "/v1/jobs")["jobs"]
    ask(api.state["url"], f"/v1/jobs/{job['id']}/{path}", "POST")
    assert turn.cancel.cancelled
    assert turn.stop_is_wished is wished
    turn.end("interrupted", "")


def test_a_wait_ends_when_it_is_cancelled(make):
    api = make()
    api.begin()
    first, second = (Turn(api.enter(**TRAINING)) for _ in range(2))
    first.wait(live_run())
    second.cancel.cancel()
    with pytest.raises(zoodip().Cancelled):
        second.wait(live_run())
    second.end("interrupted", "")
    first.end("finished", "")


def test_turning_it_off_lets_graphs_go_on(make):
    api = make()
    api.begin()
    first, second = (Turn(api.enter(**TRAINING)) for _ in range(2))
    first.wait(live_run())
    went_on = threading.Event()
    thread = threading.Thread(target=lambda: (second.wait(live_run()), went_on.set()))
    thread.start()
    api.end()
    assert went_on.wait(20)
    thread.join()
    assert not first.cancel.cancelled
    first.step(1, 2, 0.5, 0.5)  # nobody hears it, nothing breaks
    first.end("finished", "")
    second.end("stopped", "")


def test_the_token_of_a_graph_can_be_fetched_while_it_is_there(make, tmp_path):
    api = make()
    api.begin()
    turn = Turn(api.enter(**TRAINING))
    turn.wait(live_run())
    token = tmp_path / "t.safetensors"
    token.write_bytes(b"word")
    turn.preview(4, b"jpeg")
    turn.end("finished", "", str(token))
    [job] = ask(api.state["url"], "/v1/jobs")["jobs"]
    where = f"{api.state['url']}/v1/jobs/{job['id']}"
    assert job["token"] is True
    with urllib.request.urlopen(f"{where}/token") as answer:
        assert answer.read() == b"word"
        assert 'filename="sks.safetensors"' in answer.headers["Content-Disposition"]
    with urllib.request.urlopen(f"{where}/previews/4") as answer:
        assert (answer.read(), answer.headers["Content-Type"]) == (b"jpeg", "image/jpeg")
    token.unlink()
    with pytest.raises(urllib.error.HTTPError, match="409"):
        urllib.request.urlopen(f"{where}/token")
