"""What trains now: events, curve, speed, preview and stop."""

from __future__ import annotations

import json
import math
import threading

import pytest
from comfyui_zoodip.node.curve import thin
from comfyui_zoodip.node.live import EVENT, LiveRun, LiveRuns, stored_payload
from comfyui_zoodip.node.run_record import pack_record, unpack_record
from comfyui_zoodip.node.store import Record
from hypothesis import given
from hypothesis import strategies as st

A = "a" * 64


class Page:
    """Takes events, and moves the clock."""

    def __init__(self) -> None:
        self.now = 100.0
        self.events: list[dict] = []
        self.times: list[float] = []

    def send(self, name: str, payload: dict) -> None:
        assert name == EVENT
        # The host writes this as JSON for the page.
        self.events.append(json.loads(json.dumps(payload, allow_nan=False)))
        self.times.append(self.now)

    def run(self, key: str = A, steps: int = 3000, node: str = "12") -> LiveRun:
        return LiveRun(key, node, "w", "p", "sks", steps, 5.0, self.send, clock=lambda: self.now)

    def train(self, run: LiveRun, steps: range, seconds: float) -> None:
        for step in steps:
            self.now += seconds
            run.step(step, run.steps, step / 8, step / 16)


@pytest.fixture
def page() -> Page:
    return Page()


def test_a_payload_has_all_that_the_page_shows(page):
    run = page.run()
    run.stage("loading the UNet")
    assert page.events == [run.payload]
    assert run.payload == {
        "run": A,
        "node": "12",
        "workflow": "w",
        "prompt": "p",
        "word": "sks",
        "state": "preparing",
        "stage": "loading the UNet",
        "step": 0,
        "steps": 3000,
        "passes": None,
        "best_step": None,
        "compute": None,
        "compute_choice": None,
        "validations": [],
        "speed": None,
        "seconds_left": None,
        "foretold": None,
        "loss": None,
        "smooth": None,
        "points": [],
        "message": "",
        "preview": None,
        "preview_percent": 5.0,
    }


def test_events_are_at_most_four_a_second_and_lose_no_point(page):
    run = page.run()
    run.stage("training")
    page.train(run, range(1, 1001), 1 / 128)
    run.end("finished")
    gaps = [b - a for a, b in zip(page.times[:-2], page.times[1:-1], strict=True)]
    assert min(gaps) >= 0.25
    assert max(gaps) <= 0.25 + 1 / 128
    points = [point for event in page.events for point in event["points"]]
    assert points == [[step, step / 8, step / 16] for step in range(1, 1001)]
    assert [event["state"] for event in page.events[-2:]] == ["training", "finished"]


def test_every_change_of_state_and_stage_is_told_at_once(page):
    run = page.run()
    for text in ("checking", "loading the UNet", "timing one pass", "training"):
        run.stage(text)
    run.step(1, 3000, 1.0, 1.0)
    run.end("interrupted", "Kept.")
    told = [(e["state"], e["stage"], e["message"]) for e in page.events]
    assert told == [
        ("preparing", "checking", ""),
        ("preparing", "loading the UNet", ""),
        ("preparing", "timing one pass", ""),
        ("training", "training", ""),
        ("interrupted", "", "Kept."),
    ]
    assert page.events[-1]["points"] == [[1, 1.0, 1.0]]
    assert page.events[-1]["seconds_left"] is None


def test_the_first_step_begins_the_training(page):
    run = page.run()
    run.stage("checking")
    run.step(1, 10, 1.0, 1.0)
    assert [event["state"] for event in page.events] == ["preparing", "training"]
    assert page.events[-1]["steps"] == 10


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_are_null(page, bad):
    run = page.run()
    run.step(1, 10, bad, 2.0)
    page.now += 1
    run.step(2, 10, 3.0, bad)
    assert page.events[0]["points"] == [[1, None, 2.0]]
    assert (page.events[1]["loss"], page.events[1]["smooth"]) == (3.0, None)
    assert run.payload["points"] == [[1, None, 2.0], [2, 3.0, None]]
    assert run.losses == [3.0]


def test_a_page_that_fails_ends_nothing_and_gets_the_points_later(page):
    run = page.run()
    send, run._send = run._send, None
    page.train(run, range(1, 4), 1.0)
    run._send = send
    run.end("finished")
    assert page.events[-1]["points"] == [[i, i / 8, i / 16] for i in (1, 2, 3)]


# Speed.


def test_speed_is_unknown_then_guessed_then_measured(page):
    run = page.run(steps=100)
    run.stage("training")
    assert page.events[-1]["speed"] is None
    run.forecast(0.5)
    assert (run.payload["speed"], run.payload["seconds_left"]) == (2.0, 50.0)
    page.train(run, range(1, 12), 0.25)
    assert run.payload["speed"] == pytest.approx(4.0)
    assert run.payload["seconds_left"] == pytest.approx(89 / 4)


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_a_guess_that_is_none_is_left_out(page, bad):
    run = page.run()
    run.forecast(bad)
    assert run.payload["speed"] is None


@pytest.mark.parametrize("first", ["step", "preview"])
def test_speed_leaves_previews_validation_and_other_stages_out(page, first):
    run = page.run()
    for i in range(1, 50):
        page.now += 0.5
        if first == "step":
            run.step(i, 3000, 1.0, 1.0)
        if i % 5 == 0:
            page.now += 60
            run.preview(i, b"jpeg")
        if i % 7 == 0:
            page.now += 60
            run.stage("saving")
        if i % 11 == 0:
            page.now += 60
            run.validated(i, 1.0, best=False)
        if first == "preview":
            run.step(i, 3000, 1.0, 1.0)
    assert run.payload["speed"] == pytest.approx(2.0)


@pytest.mark.parametrize(("before", "after", "steps"), [(0.01, 10.0, 60), (1.0, 0.01, 4000)])
def test_speed_follows_a_change(page, before, after, steps):
    run = page.run(steps=10_000)
    page.train(run, range(1, 100), before)
    page.train(run, range(100, 100 + steps), after)
    assert run.payload["speed"] == pytest.approx(1 / after, rel=0.05)


def test_one_slow_step_of_many_moves_the_speed_little(page):
    run = page.run()
    page.train(run, range(1, 2000), 0.01)
    page.train(run, range(2000, 2001), 0.5)
    assert run.payload["speed"] == pytest.approx(100, rel=0.1)


def test_a_clock_that_stands_still_gives_no_infinity(page):
    run = page.run()
    page.train(run, range(1, 10), 0.0)
    assert run.payload["speed"] is None


# The curve.


def test_the_curve_is_whole_for_the_loss_map_and_thinned_for_the_page(page):
    run = page.run(steps=30_000)
    page.train(run, range(1, 30_001), 0.01)
    assert run.losses == [step / 8 for step in range(1, 30_001)]
    assert len(run.record().curve) == 30_000
    points = run.payload["points"]
    assert len(points) <= 1000
    assert (points[0][0], points[-1][0]) == (1, 30_000)


LOSS = st.none() | st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(LOSS, max_size=80), st.integers(4, 30))
def test_thinning_keeps_ends_order_and_extremes(losses, limit):
    points = [(step, loss, loss) for step, loss in enumerate(losses)]
    kept = thin(points, limit)
    assert len(kept) == len(points) if len(points) <= limit else len(kept) <= limit
    assert kept == sorted(kept, key=lambda point: point[0])
    assert set(kept) <= set(points)
    assert len(set(kept)) == len(kept)
    if points:
        assert (kept[0], kept[-1]) == (points[0], points[-1])
    known = [loss for loss in losses if loss is not None]
    if known:
        told = [loss for _, loss, _ in kept if loss is not None]
        assert (min(told), max(told)) == (min(known), max(known))


def test_thinning_shows_where_there_was_no_number():
    points = [(step, None if 1000 < step < 4000 else 1.0, None) for step in range(5000)]
    assert len([point for point in thin(points) if point[1] is None]) > 200


def test_thinning_uses_the_room_it_has():
    points = [(step, math.sin(step), None) for step in range(5000)]
    assert len(thin(points)) > 900


def test_a_resumed_run_goes_on_with_curve_and_preview(page):
    run = page.run()
    earlier = [(step, 1.0, 2.0) for step in range(1, 2501)]
    run.taken_over(Record(A, "sks", "training", 2500, 3000, curve=earlier, preview_step=2300), 2400)
    event = page.events[-1]
    assert (event["state"], event["step"]) == ("preparing", 2400)
    assert event["preview"] == {"step": 2300, "url": f"/zoodip/runs/{A}/preview?step=2300"}
    assert len(event["points"]) <= 1000
    assert (event["points"][0][0], event["points"][-1][0]) == (1, 2400)
    run.step(2401, 3000, 3.0, 3.0)
    assert page.events[-1]["points"] == [[2401, 3.0, 3.0]]
    assert len(run.losses) == 2401


def test_a_reused_run_is_kept_as_finished(page):
    run = page.run()
    run.taken_over(
        Record(
            *(A, "sks", "finished", 3000, 3000),
            curve=[(3000, 0.5, 0.5)],
            validations=[(0, 1.0)],
            passes=9000,
            best_step=7,
        )
    )
    run.end("reused", "Nothing was trained.")
    assert page.events[-1]["state"] == run.state == "reused"
    assert run.record() == Record(
        key=A,
        word="sks",
        state="finished",
        step=3000,
        steps=3000,
        message="Nothing was trained.",
        curve=[(3000, 0.5, 0.5)],
        validations=[(0, 1.0)],
        node="12",
        workflow="w",
        prompt="p",
        preview_percent=5.0,
        passes=9000,
        best_step=7,
    )


def test_what_it_multiplies_in_is_told_and_kept(page):
    run = page.run()
    run.computes("int8", "compute auto takes int8: it is the quickest")
    run.step(1, 3000, 1.0, 1.0)
    told = page.events[-1]
    assert (told["compute"], told["compute_choice"].split(":")[0]) == (
        "int8",
        "compute auto takes int8",
    )
    kept = unpack_record(A, pack_record(run.record()))
    assert (kept["compute"], kept["compute_choice"]) == (told["compute"], told["compute_choice"])
    gone_on = page.run()
    gone_on.taken_over(run.record())
    assert gone_on.payload["compute"] == "int8"


def test_passes_and_the_best_step_are_told_and_kept(page):
    run = page.run()
    run.passes(3)
    run.validated(1, 0.5, best=True)
    run.step(1, 3000, 1.0, 1.0)
    assert (page.events[-1]["passes"], page.events[-1]["best_step"]) == (3, 1)
    run.validated(2, 0.75, best=False)
    run.passes(6)
    assert (run.record().passes, run.record().best_step) == (6, 1)
    run.end("finished")
    run.passes(9)
    run.validated(3, 0.25, best=True)
    run.best_is(3)
    assert (run.record().passes, run.record().best_step) == (6, 1)
    assert run.record().validations == [(1, 0.5), (2, 0.75)]


def test_the_loss_of_the_fixed_samples_is_told_from_the_start_on(page):
    run = page.run()
    run.validated(0, 1.5, best=False)
    assert page.events[-1]["validations"] == [[0, 1.5]]
    page.train(run, range(1, 3), 1.0)
    run.validated(2, math.nan, best=False)
    run.validated(2, 1.25, best=True)  # done again by a run that went on
    page.train(run, range(3, 4), 1.0)
    assert page.events[-1]["validations"] == [[0, 1.5], [2, 1.25]]
    again = page.run()
    again.taken_over(run.record(), 1)
    assert page.events[-1]["validations"] == [[0, 1.5]]


def test_many_validations_are_told_by_fewer_dots_that_lose_no_extreme(page):
    run = page.run()
    for step in range(2000):
        run.validated(step, 0.01 if step == 777 else 1.0, best=False)
    told = run.payload["validations"]
    assert len(told) <= 400 and told[0] == [0, 1.0] and [777, 0.01] in told
    assert len(run.record().validations) == 2000


def test_the_time_is_foretold_as_soon_as_it_is_known(page):
    run = page.run(steps=100)
    run.stage("timing one step")
    told = len(page.events)
    run.forecast(0.5, 60.0)
    assert len(page.events) == told + 1
    assert (page.events[-1]["foretold"], page.events[-1]["state"]) == (60.0, "preparing")
    page.train(run, range(1, 12), 2.0)  # another program has the cores
    assert page.events[-1]["foretold"] == 60.0
    assert page.events[-1]["seconds_left"] == pytest.approx(89 * 2.0)
    run.end("finished")
    run.forecast(0.1, 1.0)
    assert run.payload["foretold"] == 60.0


@pytest.mark.parametrize(("gone_on", "known"), [(2, None), (3, 3), (4, 3)])
def test_a_best_word_that_was_lost_is_not_told(page, gone_on, known):
    run = page.run()
    run.taken_over(Record(A, "sks", "training", 5, 9, best_step=3), gone_on)
    assert page.events[-1]["best_step"] == known


def test_what_only_the_store_knows_is_told_alike(page):
    run = page.run()
    page.train(run, range(1, 5000), 0.01)
    run.preview(4999, b"jpeg")
    run.end("stopped", "Kept.")
    assert stored_payload(run.record()) == run.payload | {"speed": None, "foretold": None}


def test_a_run_whose_process_died_is_told_as_interrupted(page):
    run = page.run()
    page.train(run, range(1, 3), 1.0)
    payload = stored_payload(run.record())
    assert (payload["state"], payload["step"]) == ("interrupted", 2)
    assert payload["message"].startswith("ComfyUI ended during this training")


# Preview.


def test_a_preview_is_told_within_the_limit_and_its_latest_kept(page):
    run = page.run()
    run.stage("training")
    run.preview(1, b"one")
    assert len(page.events) == 1
    assert run.preview_jpeg == b"one"
    page.now += 0.25
    run.preview(2, b"two")
    assert page.events[-1]["preview"] == {"step": 2, "url": f"/zoodip/runs/{A}/preview?step=2"}
    run.preview(3, b"three")
    run.end("finished")
    assert page.events[-1]["preview"]["step"] == 3


# The end and stopping.


def test_nothing_changes_after_the_first_end(page):
    run = page.run()
    run.end("failed", "Why.")
    before = run.payload
    run.stage("training")
    run.step(1, 2, 1.0, 1.0)
    run.preview(1, b"jpeg")
    run.taken_over(Record(A, "sks", "stopped", 5, 9))
    run.end("finished")
    assert not run.request_stop()
    assert not run.stop_requested
    assert run.payload == before
    assert len(page.events) == 1
    assert run.preview_jpeg is None


def test_an_unknown_end_is_refused(page):
    with pytest.raises(ValueError, match="state: needs one of finished, .*; got 'training'"):
        page.run().end("training")


def test_a_stop_is_passed_on_once_and_told(page):
    run = page.run()
    stops = []
    run.on_stop(lambda: stops.append("early"))
    assert run.request_stop()
    assert run.request_stop()
    assert stops == ["early"]
    assert run.stop_requested
    assert [event["stage"] for event in page.events] == ["stopping"]
    run.on_stop(lambda: stops.append("late"))
    assert stops == ["early", "late"]
    run.stage("training")
    assert page.events[-1]["stage"] == "stopping"
    assert not run.ended


def test_a_stop_callback_may_end_the_run(page):
    run = page.run()
    run.on_stop(lambda: run.end("stopped"))
    run.request_stop()
    assert run.wait(0)
    assert run.state == "stopped"


def test_threads_that_read_and_stop_while_it_trains(page):
    run = page.run(steps=20_000)
    seen, stopped = [], threading.Event()
    run.on_stop(stopped.set)

    def read():
        while not run.ended:
            seen.append(run.payload)
            run.request_stop()

    reader = threading.Thread(target=read)
    reader.start()
    step = 0
    while not stopped.is_set() or step < 3000:
        step += 1
        page.train(run, range(step, step + 1), 0.01)
    run.end("stopped")
    reader.join()
    for payload in seen:
        steps = [point[0] for point in payload["points"]]
        assert steps == sorted(steps)
        assert not steps or steps[-1] == payload["step"]
    points = [point[0] for event in page.events for point in event["points"]]
    assert points == list(range(1, step + 1))


# All runs.


def test_runs_are_found_by_key_node_and_being_current(page):
    runs = LiveRuns()
    one, two = page.run("1" * 64, node="1"), page.run("2" * 64, node="2")
    assert runs.current() is None
    for run in (one, two):
        runs.add(run)
        assert runs.get(run.key) is run
        assert runs.of_node("w", run.node) is run
        assert runs.current() is run
        run.end("finished")
    assert runs.current() is None
    again = page.run("1" * 64, node="1")
    runs.add(again)
    assert runs.of_node("w", "1") is runs.get("1" * 64) is runs.current() is again
    assert runs.of_node("", "1") is runs.of_node("w", "3") is runs.get("3" * 64) is None
    runs.forget_ended()
    assert runs.get("2" * 64) is None
    assert runs.current() is again


def test_a_few_ended_runs_are_kept(page):
    runs = LiveRuns()
    running = page.run()
    runs.add(running)
    keys = [f"{i:064x}" for i in range(10)]
    for key in keys:
        run = page.run(key)
        runs.add(run)
        run.end("finished")
    again = page.run(keys[1])
    runs.add(again)
    again.end("reused")
    runs.add(page.run("f" * 64))
    assert [key for key in keys if runs.get(key)] == [keys[1], *keys[3:]]
    assert runs.get(A) is running


def test_shutdown_stops_all_and_waits_for_their_ends(page):
    runs = LiveRuns()
    ends = []
    for key in ("1" * 64, "2" * 64):
        run = page.run(key)
        runs.add(run)

        def finish(run=run):
            run.end("stopped")
            ends.append(run.key)

        thread = threading.Thread(target=finish)
        # The first one's stop fails; it ends by itself, and the second is still stopped.
        run.on_stop(thread.start)
        if key[0] == "1":
            run.on_stop(lambda: 1 / 0)
    assert runs.shutdown(timeout=60)
    assert runs.current() is None
    assert all(runs.get(key).state == "stopped" for key in ("1" * 64, "2" * 64))


def test_shutdown_gives_up_on_a_run_that_does_not_end(page):
    runs = LiveRuns()
    runs.add(page.run())
    assert not runs.shutdown(timeout=0.01)
    assert runs.current().stop_requested
    assert LiveRuns().shutdown(timeout=0)


def test_a_run_that_begins_after_shutdown_is_stopped(page):
    runs = LiveRuns()
    runs.shutdown()
    run = page.run()
    runs.add(run)
    assert run.stop_requested
