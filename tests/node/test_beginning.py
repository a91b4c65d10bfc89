"""A node that begins shows that, and what kept it from learning, not its last run."""

from __future__ import annotations

import pytest
from comfyui_zoodip.node.beginning import beginning
from comfyui_zoodip.node.live import LiveRun, LiveRuns
from comfyui_zoodip.node.training import Place

PLACE = Place("12", "w", "p")


class Interrupted(Exception):
    pass


class Page:
    def __init__(self) -> None:
        self.runs, self.events = LiveRuns(), []

    def send(self, event: str, payload: dict) -> None:
        self.events.append(payload)

    def begins(self):
        return beginning("zwx", 600, PLACE, self.runs, self.send, Interrupted)

    def trains(self) -> LiveRun:
        run = LiveRun("a" * 64, *("12", "w", "p"), "zwx", 600, 5.0, self.send)
        self.runs.add(run)
        return run

    @property
    def shown(self) -> tuple[str, str]:
        run = self.runs.of_node("w", "12")
        return run.state, run.payload["message"]


@pytest.fixture
def page() -> Page:
    return Page()


def test_it_takes_the_place_of_the_last_run(page):
    page.trains().end("finished")
    with page.begins():
        assert page.shown == ("preparing", "")
        told = page.events[-1]
        assert (told["state"], told["word"], told["steps"]) == ("preparing", "zwx", 600)
        assert told["stage"] and told["run"] != "a" * 64
    assert page.shown == ("finished", "")


def test_an_error_before_learning_is_shown_with_its_sentence(page):
    page.trains().end("finished")
    with pytest.raises(ValueError), page.begins():
        raise ValueError("captions: needs one line or five, got 4")
    assert page.shown == ("failed", "captions: needs one line or five, got 4")
    assert page.events[-1]["message"] == "captions: needs one line or five, got 4"


def test_an_interruption_is_no_failure(page):
    with pytest.raises(Interrupted), page.begins():
        raise Interrupted
    assert page.shown[0] == "interrupted"


def test_a_training_takes_over_and_tells_its_own_end(page):
    with pytest.raises(RuntimeError), page.begins():
        run = page.trains()
        assert page.runs.of_node("w", "12") is page.runs.current() is run
        run.end("failed", "the loss is not finite")
        raise RuntimeError("the loss is not finite")
    assert [event["run"] for event in page.events][-1] == "a" * 64
    assert page.shown == ("failed", "the loss is not finite")
    with page.begins():
        page.trains().end("finished")
    assert page.shown == ("finished", "")


def test_the_next_attempt_replaces_a_failed_one(page):
    with pytest.raises(ValueError), page.begins():
        raise ValueError("first")
    with page.begins():
        assert page.shown == ("preparing", "")
        page.trains().end("finished")
    assert page.shown == ("finished", "")
