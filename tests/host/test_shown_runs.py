"""What tells a page which run a node shows, or what kept it from one."""

import pytest
from graphs import run, succeeded, training


def shown(comfy, workflow: str) -> dict:
    return comfy.get(f"/zoodip/nodes/3?workflow={workflow}")


@pytest.mark.parametrize("wrong", [{"word": "two words"}, {"captions": "one\ntwo\nthree"}])
def test_an_error_before_learning_is_what_the_node_shows(comfy, wrong):
    workflow = f"fails-{next(iter(wrong))}"
    succeeded(comfy, training(2), workflow=workflow)
    assert shown(comfy, workflow)["state"] in ("finished", "reused")
    ran = run(comfy, training(2, **wrong), workflow=workflow)
    states = [payload["state"] for payload in ran.progress]
    assert (states[0], states[-1]) == ("preparing", "failed")
    assert ran.progress[-1]["message"] == ran.message
    kept = shown(comfy, workflow)
    assert (kept["state"], kept["message"]) == ("failed", ran.message)
    succeeded(comfy, training(2), workflow=workflow)
    assert shown(comfy, workflow)["state"] in ("finished", "reused")


def test_a_cached_result_names_its_run(comfy):
    first = succeeded(comfy, training(3), workflow="one")
    key = first.progress[-1]["run"]
    assert first.outputs["3"]["zoodip_run"] == [key]
    copy = succeeded(comfy, training(3), workflow="another")
    assert copy.executed == [] and copy.progress == []
    assert copy.outputs["3"]["zoodip_run"] == [key]
