"""The HTTP routes, served by aiohttp on the loopback."""

from __future__ import annotations

import asyncio
import json
import threading

import pytest

web = pytest.importorskip("aiohttp.web", reason="needs aiohttp, which ComfyUI's Python has")

from aiohttp.test_utils import TestClient, TestServer  # noqa: E402
from comfyui_zoodip.node.http_api import HttpApi  # noqa: E402
from comfyui_zoodip.node.live import LiveRun, LiveRuns  # noqa: E402
from comfyui_zoodip.node.routes import add_routes  # noqa: E402
from comfyui_zoodip.node.store import Record, Store  # noqa: E402

A, B, C = "a" * 64, "b" * 64, "c" * 64


class House:
    """A store with one finished run, one live run, and a way to ask."""

    def __init__(self, root):
        self.store, self.runs = Store(root / "zoodip"), LiveRuns()
        self.store.folder(A)
        self.store.token_path(A).write_bytes(b"token")
        kept = Record(A, "sks", "finished", 2, 2, curve=[(1, 0.5, None), (2, 0.25, 0.5)], node="1")
        self.store.save(kept)
        self.store.set_node_run("w x", "1:2", A)
        self.api = HttpApi(root / "zoodip", dict, {})
        self.live = LiveRun(B, "7", "w", "p", "sks", 9, 5.0, lambda *_: None)
        self.runs.add(self.live)

    def ask(self, method: str, path: str, **options):
        """(status, headers, body) of one request."""

        async def go():
            routes, app = web.RouteTableDef(), web.Application()
            add_routes(routes, self.runs, self.store, self.api)
            app.add_routes(routes)
            async with TestClient(TestServer(app)) as client:
                answer = await client.request(method, path, **options)
                return answer.status, answer.headers, await answer.read()

        return asyncio.run(go())

    def json(self, method: str, path: str, **options):
        """(status, parsed body)."""
        status, headers, body = self.ask(method, path, **options)
        assert headers["Content-Type"].startswith("application/json")
        return status, json.loads(body)


@pytest.fixture
def house(tmp_path) -> House:
    return House(tmp_path)


def test_a_live_and_a_kept_run_are_told(house):
    house.live.step(1, 9, float("nan"), 0.5)
    assert house.json("GET", f"/zoodip/runs/{B}") == (200, house.live.payload)
    status, payload = house.json("GET", f"/zoodip/runs/{A}")
    assert (status, payload["state"], payload["loss"]) == (200, "finished", 0.25)
    assert payload["points"] == [[1, 0.5, None], [2, 0.25, 0.5]]


@pytest.mark.parametrize("key", [C, "x", "..%2f..%2fstore.json", "%2e%2e"])
@pytest.mark.parametrize("path", ["GET /zoodip/runs/{}/preview", "POST /zoodip/runs/{}/stop"])
def test_unknown_runs_are_404(house, key, path):
    method, path = path.split()
    status, _, body = house.ask(method, path.format(key))
    assert status == 404
    if key != "%2e%2e":  # which no route takes
        assert json.loads(body)["error"].endswith(".")
    if key == C:
        assert house.json("GET", f"/zoodip/runs/{C}")[0] == 404


def test_the_settings_page_is_shown_as_text(house):
    status, headers, body = house.ask("GET", "/zoodip/settings")
    assert (status, headers["Content-Type"]) == (200, "text/plain; charset=utf-8")
    assert body.decode().startswith("# Settings\n")


def test_nodes_find_their_last_run_and_are_named_as_asked(house):
    status, payload = house.json("GET", "/zoodip/nodes/1:2?workflow=w%20x")
    assert (status, payload["run"], payload["node"], payload["workflow"]) == (200, A, "1:2", "w x")
    assert house.json("GET", "/zoodip/nodes/7?workflow=w") == (200, house.live.payload)
    assert house.json("GET", "/zoodip/nodes/7") == (200, None)
    house.store.set_node_run("", "8", C)
    assert house.json("GET", "/zoodip/nodes/8") == (200, None)


def test_a_page_says_which_run_a_node_shows(house):
    said = {"workflow": "a copy", "run": A}
    assert house.json("POST", "/zoodip/nodes/4", json=said) == (200, {"run": A})
    assert house.json("GET", "/zoodip/nodes/4?workflow=a%20copy")[1]["run"] == A
    assert house.json("POST", "/zoodip/nodes/4", json={**said, "run": C})[0] == 404
    for wrong in ({"run": A}, {**said, "run": 1}, [], {**said, "more": 1}):
        assert house.json("POST", "/zoodip/nodes/4", json=wrong)[0] == 400
    assert house.json("GET", "/zoodip/nodes/4?workflow=a%20copy")[1]["run"] == A
    # In place of what kept it from learning.
    failed = LiveRun(C, "4", "a copy", "p", "sks", 9, 5.0, lambda *_: None)
    house.runs.add(failed)
    failed.end("failed", "no such word")
    assert house.json("POST", "/zoodip/nodes/4", json=said)[0] == 200
    assert house.json("GET", "/zoodip/nodes/4?workflow=a%20copy")[1]["run"] == A


def test_previews_come_from_the_run_then_from_the_store(house):
    assert house.json("GET", f"/zoodip/runs/{B}/preview")[0] == 404
    house.live.taken_over(Record(B, "sks", "stopped", 3, 9, preview_step=3))
    house.store.save(house.live.record(), preview=b"kept")
    assert house.ask("GET", f"/zoodip/runs/{B}/preview?step=3")[2] == b"kept"
    house.live.preview(4, b"\xff\xd8live")
    status, headers, body = house.ask("GET", house.live.payload["preview"]["url"])
    assert (status, body) == (200, b"\xff\xd8live")
    assert headers["Content-Type"] == "image/jpeg"
    assert headers["Cache-Control"] == "no-cache"


def test_stop_is_accepted_while_it_runs(house):
    stops = []
    house.live.on_stop(lambda: stops.append(1))
    assert house.json("POST", f"/zoodip/runs/{B}/stop") == (202, {"run": B})
    assert house.json("POST", f"/zoodip/runs/{B}/stop") == (202, {"run": B})
    assert stops == [1]
    house.live.end("stopped")
    for key, state in [(B, "stopped"), (A, "finished")]:
        answer = {"error": f"This training is not running: it is {state}."}
        assert house.json("POST", f"/zoodip/runs/{key}/stop") == (409, answer)


def test_the_limit_is_set(house):
    status, before = house.json("GET", "/zoodip/store")
    assert (status, before["runs"], before["limit_mb"]) == (200, 1, 256)
    answer = house.json("POST", "/zoodip/store", json={"limit_mb": 64})
    assert answer == (200, before | {"limit_mb": 64})
    assert house.store.limit_mb == 64


BODIES = ["", "{", "[" * 100_000, "[]", "{}", '{"limit_mb": 64, "more": 1}', b"\xff", "1" * 5000]
VALUES = ["15", "65537", "1e2", "true", '"64"', "null", "NaN", "9" * 5000]


@pytest.mark.parametrize("body", BODIES + [f'{{"limit_mb": {value}}}' for value in VALUES])
def test_bad_bodies_are_400_and_change_nothing(house, body):
    status, answer = house.json("POST", "/zoodip/store", data=body)
    assert status == 400
    assert answer.keys() == {"error"}
    assert len(answer["error"]) < 200
    assert house.store.limit_mb == 256


def test_delete_forgets_all_but_the_running_one(house):
    ended = LiveRun(C, "9", "w", "p", "sks", 9, 5.0, lambda *_: None)
    house.runs.add(ended)
    ended.end("finished")
    with house.store.hold(B):
        house.store.save(house.live.record())
        status, stats = house.json("DELETE", "/zoodip/store")
        assert (status, stats["runs"], stats["limit_mb"]) == (200, 1, 256)
        assert [house.json("GET", f"/zoodip/runs/{k}")[0] for k in (A, B, C)] == [404, 200, 404]


def test_a_store_that_cannot_be_written_is_a_sentence(tmp_path):
    house = House(tmp_path)
    (tmp_path / "file").write_bytes(b"")
    house.store = Store(tmp_path / "file")
    status, answer = house.json("POST", "/zoodip/store", json={"limit_mb": 64})
    assert status == 500
    assert answer["error"].startswith(f"Could not write to {tmp_path / 'file'}: ")


def test_files_are_touched_off_the_event_loop(house, monkeypatch):
    threads = set()
    for name in ("record", "preview", "stats", "set_limit", "clear", "node_run"):
        work = getattr(Store, name)

        def noted(*arguments, work=work):
            threads.add(threading.current_thread())
            return work(*arguments)

        monkeypatch.setattr(Store, name, noted)
    house.json("GET", f"/zoodip/runs/{A}")
    house.json("GET", "/zoodip/nodes/1:2?workflow=w%20x")
    house.json("POST", f"/zoodip/runs/{A}/stop")
    house.json("GET", f"/zoodip/runs/{A}/preview")
    house.json("POST", "/zoodip/store", json={"limit_mb": 64})
    house.json("DELETE", "/zoodip/store")
    assert threads
    assert threading.main_thread() not in threads
