"""A node that begins shows that, and what kept it from learning, not its last job."""

from __future__ import annotations

import pytest
from comfyui_zoodip.node import jobs as jobs_module
from comfyui_zoodip.node.training import learn
from trainings import NODE, WORKFLOW, FakeHost, Interruption

STAGE = "reading the model and the pictures"


def begins(house):
    return house.begins("zwx", 600)


def shown(house):
    job = house.shown()
    return job["state"], job["message"]


def test_it_takes_the_place_of_the_last_job(wanted, house):
    house.learn(wanted)
    last = house.last["id"]
    with begins(house) as job:
        told = house.last
        assert (told["state"], told["stage"]) == ("running", STAGE)
        assert (told["word"], told["steps"], told["step"]) == ("zwx", 600, 0)
        assert (told["graph"]["node"], told["graph"]["workflow"]) == (NODE, WORKFLOW)
        assert told["graph"]["prompt"] == "prompt"
        assert told["points"] == [] and told["id"] == job.id != last
        assert house.shown()["id"] == job.id
        assert house.get("/v1/store")["jobs"] == 1  # it is not kept
    # Another node shows what it showed.
    with house.begins(node="8"):
        assert house.shown("8")["id"] != house.shown()["id"]


def test_an_error_before_learning_is_shown_with_its_sentence(wanted, house):
    house.learn(wanted)
    with pytest.raises(ValueError), begins(house):
        raise ValueError("captions: needs one line or five, got 4")
    assert shown(house) == ("failed", "captions: needs one line or five, got 4")
    assert house.last["message"] == "captions: needs one line or five, got 4"
    assert house.get("/v1/health")["running"] == 0


def test_an_error_without_a_sentence_is_named(house):
    with pytest.raises(KeyboardInterrupt), begins(house):
        raise KeyboardInterrupt
    assert shown(house) == ("failed", "KeyboardInterrupt")


def test_an_interruption_is_no_failure(house):
    with pytest.raises(Interruption), begins(house):
        raise Interruption
    assert shown(house)[0] == "interrupted"
    assert "nothing was learned" in shown(house)[1]


def test_a_training_takes_over_and_tells_its_own_end(wanted, house):
    with pytest.raises(RuntimeError), begins(house) as job:
        begun = job.id
        [learned] = learn([job], wanted, NODE, FakeHost())
        key = house.last["id"]
        assert house.shown()["id"] == job.id == key
        raise RuntimeError("what follows the training is not its failure")
    assert learned.finished
    assert house.ask(f"/v1/jobs/{begun}")[0] == 404
    assert house.last["id"] == key
    assert shown(house) == ("finished", "")


def test_the_next_attempt_replaces_a_failed_one(wanted, house):
    with pytest.raises(ValueError), begins(house):
        raise ValueError("first")
    failed = house.shown()["id"]
    with begins(house):
        assert shown(house) == ("running", "")
        assert house.ask(f"/v1/jobs/{failed}")[0] == 404
    house.learn(wanted)
    assert shown(house) == ("finished", "")


def test_without_an_engine_the_node_says_so(house, monkeypatch):
    monkeypatch.setattr(jobs_module, "engine_problem", lambda: "no engine: run install.py")
    with pytest.raises(RuntimeError, match="run install.py"), begins(house):
        raise AssertionError("it does not begin")
    [told] = house.events
    assert (told["state"], told["message"]) == ("failed", "no engine: run install.py")
    assert (told["word"], told["step"], told["steps"], told["points"]) == ("zwx", 0, 600, [])
    assert told["graph"] == {"node": NODE, "workflow": WORKFLOW, "prompt": "prompt"}
    with pytest.raises(RuntimeError), begins(house):
        pass
    assert house.last["id"] != told["id"]


def test_where_the_folder_cannot_be_used_the_node_says_so(house):
    house.root.write_bytes(b"")
    with pytest.raises(OSError), begins(house):
        raise AssertionError("it does not begin")
    assert house.last["state"] == "failed" and str(house.root) in house.last["message"]
