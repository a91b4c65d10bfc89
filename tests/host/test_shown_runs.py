"""What tells a page which run a node shows, or what kept it from one."""

import pytest
from graphs import (
    node_job,
    run,
    succeeded,
    training,
)


def shown(comfy, workflow: str) -> dict:
    return node_job(comfy, workflow)


@pytest.mark.parametrize("wrong", [{"word": "two words"}, {"captions": "one\ntwo\nthree"}])
def test_an_error_before_learning_is_what_the_node_shows(comfy, wrong):
    workflow = f"fails-{next(iter(wrong))}"
    seed = {"train_seed": len(workflow)}  # of its own, so that no host has its result
    succeeded(comfy, training(2, **seed), workflow=workflow)
    assert shown(comfy, workflow)["state"] == "finished"
    ran = run(comfy, training(2, **seed, **wrong), workflow=workflow)
    states = [payload["state"] for payload in ran.progress]
    assert (states[0], states[-1]) == ("preparing", "failed")
    assert ran.progress[-1]["message"] == ran.message
    kept = shown(comfy, workflow)
    assert (kept["state"], kept["message"]) == ("failed", ran.message)
    succeeded(comfy, training(4, **seed), workflow=workflow)
    assert shown(comfy, workflow)["state"] == "finished"


def test_a_cached_result_names_its_run(comfy):
    first = succeeded(comfy, training(3), workflow="one")
    key = first.progress[-1]["id"]
    assert first.outputs["3"]["zoodip_run"] == [key]
    copy = succeeded(comfy, training(3), workflow="another")
    assert copy.executed == [] and copy.progress == []
    assert copy.outputs["3"]["zoodip_run"] == [key]
