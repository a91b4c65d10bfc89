"""The HTTP routes, served by aiohttp on the loopback."""

from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest

web = pytest.importorskip("aiohttp.web", reason="needs aiohttp, which ComfyUI's Python has")

from aiohttp.test_utils import TestClient, TestServer  # noqa: E402
from comfyui_zoodip.node import jobs as jobs_module  # noqa: E402
from comfyui_zoodip.node import routes as routes_module  # noqa: E402
from comfyui_zoodip.node.routes import add_routes  # noqa: E402
from trainings import ENDLESS, FakeHost, at_step, chosen, in_training  # noqa: E402

C = "c" * 64


class Server(TestServer):
    """Like the host's, it does not cancel the answer to a peer that has left."""

    async def _make_runner(self, **options):
        return await super()._make_runner(**options | {"handler_cancellation": False})


def serving(jobs):
    """A server with the package's routes, which takes as much as the host's."""
    routes, app = web.RouteTableDef(), web.Application(client_max_size=100 << 20)
    add_routes(routes, jobs)
    app.add_routes(routes)
    return TestClient(Server(app))


class Page:
    """What asks."""

    def __init__(self, jobs):
        self.jobs = jobs

    def ask(self, method: str, path: str, **options):
        """(status, headers, body) of one request."""

        async def go():
            async with serving(self.jobs) as client:
                answer = await client.request(method, "/zoodip" + path, **options)
                return answer.status, answer.headers, await answer.read()

        return asyncio.run(asyncio.wait_for(go(), 60))

    def json(self, method: str, path: str, **options):
        """(status, parsed body)."""
        status, headers, body = self.ask(method, path, **options)
        kind = "application/json" if status < 400 else "application/problem+json"
        assert headers["Content-Type"].split(";")[0] == kind
        return status, json.loads(body)

    def refusal(self, method: str, path: str, **options):
        """The status of a problem that is a sentence."""
        status, problem = self.json(method, path, **options)
        assert problem["status"] == status >= 400
        assert 0 < len(problem["detail"]) < 300
        return status


@pytest.fixture
def page(house):
    return Page(house.jobs)


@pytest.fixture
def learned(house, wanted):
    """The id of a job that has ended."""
    house.learn(wanted)
    return house.last["id"]


def test_an_ended_and_a_running_job_are_told(page, house, wanted, learned):
    status, job = page.json("GET", f"/v1/jobs/{learned}")
    assert (status, job["state"], job["step"]) == (200, "finished", 40)
    assert "points" not in job
    status, curve = page.json("GET", f"/v1/jobs/{learned}/curve")
    assert status == 200 and {name: curve[name] for name in job} == job
    assert [point[0] for point in curve["points"]] == list(range(1, 41))
    with in_training(house, chosen(wanted, steps=ENDLESS)):
        id = house.shown("1")["id"]
        status, curve = page.json("GET", f"/v1/jobs/{id}/curve")
        assert (status, curve["state"]) == (200, "running")
        assert curve["points"][0][0] == 1 and curve["points"][-1][0] > 40
        listed = page.json("GET", "/v1/jobs")[1]["jobs"]
        assert [job["id"] for job in listed] == [id, learned]


UNKNOWN = [C, "x", "..%2f..%2fstore.json", "%2e%2e"]


@pytest.mark.parametrize("id", UNKNOWN)
@pytest.mark.parametrize("path", ["GET {}/previews/1", "POST {}/stop", "GET {}/curve", "GET {}"])
def test_unknown_jobs_are_404(page, id, path):
    method, path = path.split()
    status, headers, body = page.ask(method, "/v1/jobs/" + path.format(id))
    assert status == 404
    if id != "%2e%2e":  # which no route takes
        assert json.loads(body)["detail"]


@pytest.mark.parametrize("path", ["/v1/", "/v1/no", "/v1/store.json", "/v1/%00", "/v1/jobs//curve"])
def test_what_is_not_there_is_404(page, path):
    assert page.refusal("GET", path) == 404


def test_a_method_that_a_path_does_not_take_is_405(page):
    status, headers, _ = page.ask("POST", "/v1/health")
    assert (status, headers["Allow"]) == (405, "GET, HEAD")
    assert page.ask("PUT", "/v1/store")[0] == 405


def test_the_settings_page_is_shown_as_text(page):
    status, headers, body = page.ask("GET", "/settings")
    assert (status, headers["Content-Type"]) == (200, "text/plain; charset=utf-8")
    assert body.decode().startswith("# Settings\n")


def test_the_api_is_described(page):
    status, document = page.json("GET", "/openapi.json")
    assert status == 200 and document["openapi"].startswith("3.")
    assert "/v1/jobs/{id}/curve" in document["paths"]


def test_nodes_find_their_last_job_and_are_named_as_asked(page, house, wanted, learned):
    show = {"node": "1:2", "workflow": "w x/ü"}
    assert page.json("POST", f"/v1/jobs/{learned}/show", json=show)[0] == 200
    status, found = page.json("GET", "/v1/jobs?node=1:2&workflow=w%20x%2F%C3%BC")
    [job] = found["jobs"]
    assert (status, job["id"], job["graph"]["node"], job["graph"]["workflow"]) == (
        200,
        learned,
        "1:2",
        "w x/ü",
    )
    assert page.json("GET", "/v1/jobs", params=show)[1] == found
    assert page.json("GET", "/v1/jobs?node=1:2") == (200, {"jobs": []})
    assert page.json("GET", "/v1/jobs?node=9&workflow=graph") == (200, {"jobs": []})
    assert page.refusal("GET", "/v1/jobs?node=%ff") == 400


def test_a_page_says_which_job_a_node_shows(page, house, learned):
    place = {"node": "4", "workflow": "a copy"}
    show = f"/v1/jobs/{learned}/show"

    def shown():
        jobs = page.json("GET", "/v1/jobs", params=place)[1]["jobs"]
        return [job["id"] for job in jobs]

    assert page.json("POST", show, json=place)[1]["id"] == learned
    assert shown() == [learned]
    assert page.refusal("POST", f"/v1/jobs/{C}/show", json=place) == 404
    for wrong in ({"node": "4"}, {**place, "node": 1}, [], {**place, "more": 1}):
        assert page.refusal("POST", show, json=wrong) == 422
    assert page.refusal("POST", show, data="{", headers={"Content-Type": "application/json"}) == 400
    assert page.refusal("POST", show, data="{}") == 415  # a form of another site
    assert shown() == [learned]
    # In place of what kept it from learning.
    with pytest.raises(ValueError), house.begins(**place):
        raise ValueError("no such word")
    assert shown() != [learned]
    assert page.json("POST", show, json=place)[0] == 200
    assert shown() == [learned]


def test_previews_are_pictures_that_are_asked_for_anew(page, house, wanted, learned):
    drawn = []

    def draw(latents):
        drawn.append(b"\xff\xd8%d" % len(drawn))
        return drawn[-1]

    assert page.refusal("GET", f"/v1/jobs/{learned}/previews/3") == 404
    house.learn(replace(chosen(wanted, steps=200), preview_percent=20.0, preview=draw))
    preview = house.last["preview"]
    status, headers, body = page.ask("GET", preview["url"])
    assert (status, body) == (200, drawn[-1])
    assert headers["Content-Type"] == "image/jpeg"
    assert headers["Cache-Control"] == "no-cache"
    assert headers["X-Content-Type-Options"] == "nosniff"
    for step in ("x", "-1", str(preview["step"] + 1)):
        assert page.refusal("GET", f"/v1/jobs/{house.last['id']}/previews/{step}") == 404


def test_stop_is_accepted_while_it_runs(page, house, wanted, learned):
    told = []

    def stop(host):
        id = house.shown()["id"]
        told.extend(page.json("POST", f"/v1/jobs/{id}/stop") for _ in range(2))

    kept = house.learn(chosen(wanted, steps=ENDLESS), FakeHost(at_step(1, stop)))
    assert not kept.finished
    assert [(status, job["stage"]) for status, job in told] == [(202, "stopping")] * 2
    for id, state in [(house.last["id"], "stopped"), (learned, "finished")]:
        status, answer = page.json("POST", f"/v1/jobs/{id}/stop")
        assert status == 409 and answer["detail"].endswith(f"has ended already: it is {state}")


def test_the_word_can_be_fetched(page, house, learned):
    status, headers, body = page.ask("GET", f"/v1/jobs/{learned}/token")
    assert (status, body) == (200, house.token_path(learned).read_bytes())
    assert headers["Content-Type"] == "application/octet-stream"
    assert headers["Content-Disposition"] == 'attachment; filename="sks.safetensors"'


def test_the_limit_is_set(page, house, learned):
    status, before = page.json("GET", "/v1/store")
    assert (status, before["jobs"], before["limit_mb"]) == (200, 1, 256)
    assert before["bytes"] > 1000
    answer = page.json("POST", "/v1/store", json={"limit_mb": 64})
    assert answer == (200, before | {"limit_mb": 64})
    assert page.json("GET", "/v1/store") == answer


# Each with what is wrong with it.
BODIES = [(400, body) for body in ("", "{", "[" * 100_000, b"\xff")]
BODIES += [(422, body) for body in ("[]", "{}", '{"limit_mb": 64, "more": 1}')]
BODIES += [(422, f'{{"limit_mb": {value}}}') for value in ("15", "65537", "1e2", "true", '"64"')]
BODIES += [(422, '{"limit_mb": null}'), (400, '{"limit_mb": NaN}'), (413, " " * (1 << 20) + "{}")]


@pytest.mark.parametrize(("status", "body"), BODIES, ids=[repr(body)[:30] for _, body in BODIES])
def test_bad_bodies_are_refused_and_change_nothing(page, status, body):
    headers = {"Content-Type": "application/json"}
    assert page.refusal("POST", "/v1/store", data=body, headers=headers) == status
    assert page.json("GET", "/v1/store")[1]["limit_mb"] == 256


def test_a_body_that_does_not_say_its_length_is_read(page):
    async def in_pieces():
        for piece in (b'{"limit', b'_mb": 64}'):
            yield piece

    headers = {"Content-Type": "application/json"}
    answer = page.json("POST", "/v1/store", data=in_pieces(), headers=headers)
    assert (answer[0], answer[1]["limit_mb"]) == (200, 64)


def test_delete_forgets_all_but_the_running_one(page, house, wanted, learned):
    with in_training(house, chosen(wanted, steps=ENDLESS)):
        running = house.shown("1")["id"]
        status, store = page.json("DELETE", "/v1/store")
        assert (status, store["jobs"], store["limit_mb"]) == (200, 1, 256)
        assert page.refusal("GET", f"/v1/jobs/{learned}") == 404
        assert page.json("GET", f"/v1/jobs/{running}")[1]["state"] == "running"
    assert page.ask("DELETE", f"/v1/jobs/{running}")[0] == 204
    assert page.json("GET", "/v1/store")[1]["jobs"] == 0


def test_a_store_that_cannot_be_written_is_a_sentence(page, house):
    page.json("GET", "/v1/store")
    (house.root / "runs" / "store.json" / "in the way").mkdir(parents=True)
    assert page.refusal("POST", "/v1/store", json={"limit_mb": 64}) == 507
    assert page.json("GET", "/v1/store")[1]["limit_mb"] == 256


# Events.


def test_the_events_of_an_ended_job_come_and_end(page, learned):
    status, headers, body = page.ask("GET", f"/v1/jobs/{learned}/events")
    assert (status, headers["Content-Type"]) == (200, "text/event-stream")
    assert headers["Cache-Control"] == "no-cache"
    events = body.decode().split("\n\n")
    assert events.pop() == ""
    assert [event.split("\n")[0] for event in events] == [
        f"id: {i + 1}" for i in range(len(events))
    ]
    assert 'event: state\ndata: {"message":"","state":"finished"}' in events[-1]
    last = {"Last-Event-ID": str(len(events) - 1)}
    rest = page.ask("GET", f"/v1/jobs/{learned}/events", headers=last)[2]
    assert rest.decode() == events[-1] + "\n\n"
    wrong = {"Last-Event-ID": "x"}
    assert page.refusal("GET", f"/v1/jobs/{learned}/events", headers=wrong) == 400


def test_the_events_of_a_running_job_come_as_they_happen_until_it_ends(page, house, wanted):
    async def listen():
        async with serving(house.jobs) as client:
            id = house.shown("1")["id"]
            answer = await client.get(f"/zoodip/v1/jobs/{id}/events")
            heard = b""
            while b"event: step" not in heard:
                heard += await answer.content.readany()
            await client.post(f"/zoodip/v1/jobs/{id}/stop")
            while piece := await answer.content.readany():
                heard += piece
            return heard.decode()

    with in_training(house, chosen(wanted, steps=ENDLESS)):
        heard = asyncio.run(asyncio.wait_for(listen(), 60))
        house.stop = lambda node: None  # which was stopped already
    assert heard.rstrip().split("\n")[-1].endswith('"state":"stopped"}')


def test_a_stream_that_nobody_hears_any_more_ends(monkeypatch):
    """Its place among the streams is given back though no event comes."""
    kind = "text/event-stream"
    answer = SimpleNamespace(is_stream=True, content_type=kind, next_events=lambda: next(events))
    events = iter(["id: 1\n\n", *[""] * 10_000])
    service = SimpleNamespace(answer=lambda *request: answer)
    ended = asyncio.Event()
    stream = routes_module._stream

    async def watched(*arguments):
        try:
            return await stream(*arguments)
        finally:
            ended.set()

    monkeypatch.setattr(routes_module, "_stream", watched)
    monkeypatch.setattr(routes_module, "_LOOK_SECONDS", 0.01)

    async def leave():
        async with serving(SimpleNamespace(service=lambda: service)) as client:
            heard = await client.get("/zoodip/v1/jobs/x/events")
            assert await heard.content.readany() == b"id: 1\n\n"
            assert not ended.is_set()
            heard.close()
            await asyncio.wait_for(ended.wait(), 20)

    asyncio.run(leave())


# The address of scripts.


def test_whether_scripts_have_an_address_is_told_and_set(page, house, monkeypatch):
    monkeypatch.setattr(house.jobs, "_environment", {"ZOODIP_HTTP": "0"})
    off = {"enabled": False, "url": None, "problem": "", "decided_by_environment": True}
    assert page.json("GET", "/api") == (200, off)
    assert page.json("POST", "/api", json={"enabled": True}) == (200, off | {"enabled": True})
    assert page.json("GET", "/api")[1]["enabled"] is True
    for wrong in ({}, {"enabled": 1}, {"enabled": True, "more": 1}, [], "x"):
        assert page.refusal("POST", "/api", json=wrong) == 400
    for wrong in ("", "{", "[" * 100_000, b"\xff"):
        assert page.refusal("POST", "/api", data=wrong) == 400
    assert page.json("GET", "/api")[1]["enabled"] is True


def test_a_setting_that_cannot_be_kept_is_a_sentence(page, house):
    house.root.write_bytes(b"")
    assert page.refusal("POST", "/api", json={"enabled": False}) == 500


# Where there is nothing to ask.


def test_without_an_engine_the_api_says_so_and_the_rest_goes_on(page, monkeypatch):
    problem = "no engine: run install.py"
    monkeypatch.setattr(jobs_module, "engine_problem", lambda: problem)
    for method, path in [("GET", "/v1/store"), ("POST", "/v1/jobs"), ("GET", "/openapi.json")]:
        assert page.json(method, path) == (503, {"status": 503, "detail": problem})
    assert page.json("GET", "/api")[0] == 200
    assert page.ask("GET", "/settings")[0] == 200


def test_a_folder_that_cannot_be_used_is_a_sentence(page, house):
    house.root.write_bytes(b"")
    status, problem = page.json("GET", "/v1/jobs")
    assert status == 503 and str(house.root) in problem["detail"]


def test_after_the_end_nothing_is_opened_again(page, house):
    assert page.json("GET", "/v1/jobs") == (200, {"jobs": []})
    house.ends()
    assert page.refusal("GET", "/v1/jobs") == 503
    assert page.json("GET", "/api")[1]["url"] is None


def test_the_disk_is_touched_off_the_event_loop(page, house, learned, monkeypatch):
    threads = {}

    def note(owner, name):
        work = getattr(owner, name)

        def noted(*arguments):
            threads.setdefault(name, set()).add(threading.current_thread())
            return work(*arguments)

        monkeypatch.setattr(owner, name, noted)

    class Answer:
        def __init__(self, answer):
            self._answer = answer
            note(self, "next_events")

        def next_events(self):
            return self._answer.next_events()

        def __getattr__(self, name):
            return getattr(self._answer, name)

    service = house.jobs.service()
    answer = service.answer
    monkeypatch.setattr(service, "answer", lambda *request: Answer(answer(*request)))
    note(service, "answer")
    note(house.jobs, "service")
    note(house.jobs, "set_enabled")
    note(jobs_module, "read_json")
    page.json("GET", f"/v1/jobs/{learned}")
    page.ask("GET", f"/v1/jobs/{learned}/events")
    page.json("POST", "/v1/store", json={"limit_mb": 64})
    page.json("DELETE", "/v1/store")
    page.json("GET", "/api")
    page.json("POST", "/api", json={"enabled": False})
    assert threads.keys() == {"service", "answer", "next_events", "set_enabled", "read_json"}
    assert all(threading.main_thread() not in found for found in threads.values())
