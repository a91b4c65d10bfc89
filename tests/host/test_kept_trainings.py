"""Finished trainings: never trained twice, forgotten when asked, kept within a limit."""

import urllib.error

import pytest
from comfy import wait_for
from graphs import (
    job_with_curve,
    node,
    node_job,
    options,
    run,
    succeeded,
    token_file,
    trained_steps,
    training,
)

STEPS = 8


def learned_anew(ran) -> bool:
    return ran.progress[-1]["state"] == "finished" and trained_steps(ran)[-1] == STEPS


@pytest.fixture(scope="module")
def first(shared_comfy):
    ran = succeeded(shared_comfy, training(STEPS, "stored"))
    assert learned_anew(ran)
    return ran


def test_an_unchanged_graph_runs_nothing(first):
    again = succeeded(first.comfy, training(STEPS, "stored"))
    assert "3" not in again.executed and not again.progress


def test_after_another_workflow_it_comes_from_the_store(first):
    between = succeeded(first.comfy, training(STEPS, "between"))
    assert learned_anew(between)
    again = succeeded(first.comfy, training(STEPS, "stored"), workflow="workflow-2")
    assert [p["state"] for p in again.progress[-1:]] == ["reused"]
    assert {p["state"] for p in again.progress} <= {"preparing", "reused"}
    last = again.progress[-1]
    assert last["id"] == first.progress[-1]["id"] and last["step"] == STEPS
    assert "store" in last["message"]
    assert again.text("9") == first.text("9")
    # The page of the other workflow finds it, too.
    shown = node_job(first.comfy, "workflow-2")
    assert shown["id"] == last["id"] and len(shown["points"]) == STEPS


def test_the_losses_come_from_the_store_too(first):
    prompt = training(STEPS, "stored")
    prompt["11"] = node("ZTestLosses", loss_map=["3", 2], steps=["3", 3])
    succeeded(first.comfy, training(STEPS, "between"))
    again = succeeded(first.comfy, prompt)
    assert len(again.outputs["11"]["losses"]) == STEPS
    assert again.outputs["11"]["steps"] == [STEPS]


CHANGES = {
    "seed": {"train_seed": 1},
    "steps": {"steps": STEPS + 1},
    "initialiser": {"initialiser": "cat"},
    "a second vector": {"initialiser": "blue dog"},
    "caption": {"captions": "a picture of a {}"},
    "precision": {"precision": "dense"},
    "an option": {"options": ["4", 0]},
    "pictures": {"images": ["5", 0], "captions": "a photo of a {}"},
    "clip skip": {"clip": ["6", 0]},
    "schedule": {"model": ["7", 0]},
    "model": {"model": ["8", 0]},
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_trains_anew(first, what):
    prompt = training(STEPS, "stored")
    prompt["3"]["inputs"] |= CHANGES[what]
    prompt["4"] = options(learning_rate=0.01)
    prompt["5"] = node("ZTestImages", kind="plain")
    prompt["6"] = node("CLIPSetLastLayer", clip=["1", 1], stop_at_clip_layer=-2)
    prompt["7"] = node("ModelSamplingDiscrete", model=["1", 0], sampling="eps", zsnr=True)
    prompt["8"] = node("ZTestModel", model=["1", 0], kind="lora")
    ran = succeeded(first.comfy, prompt)
    assert ran.progress[-1]["state"] == "finished"
    assert ran.progress[-1]["id"] != first.progress[-1]["id"]
    assert trained_steps(ran)[0] == 1


@pytest.mark.parametrize(
    "free",
    [
        {"threads": 2},
        {"checkpoint_every": 3, "checkpoints_kept": 1},
        {"preview_percent": 0.0},
        {"learning_rate": 0.005},  # what 0 stands for
    ],
    ids=str,
)
def test_what_changes_nothing_that_is_learned_trains_nothing(first, free):
    prompt = training(STEPS, "stored", options=["4", 0])
    prompt["4"] = options(**free)
    ran = succeeded(first.comfy, prompt)
    assert ran.progress[-1]["state"] == "reused"


def test_the_store_can_be_cleared(first):
    key = first.progress[-1]["id"]
    assert token_file(first.comfy, key).is_file()
    before = first.comfy.get("/zoodip/v1/store")
    assert before["jobs"] >= 1 and before["bytes"] > 0
    after = first.comfy.delete("/zoodip/v1/store")
    assert after == {**before, "jobs": 0, "bytes": 0}
    assert not token_file(first.comfy, key).exists()
    with pytest.raises(urllib.error.HTTPError) as refused:
        job_with_curve(first.comfy, key)
    assert refused.value.code == 404
    succeeded(first.comfy, training(STEPS, "between"))
    assert learned_anew(succeeded(first.comfy, training(STEPS, "stored")))


def test_clearing_leaves_the_running_one(comfy):
    """It ends as if nothing had happened, and is kept."""
    answers = []

    def clear(payload):
        if payload["state"] == "training" and not answers:
            answers.append(comfy.delete("/zoodip/v1/store"))

    ran = succeeded(comfy, training(60, "running"), on=clear)
    assert answers and ran.progress[-1]["state"] == "finished"
    assert token_file(comfy, ran.progress[-1]["id"]).is_file()


def test_the_limit_is_set_and_bounded(comfy):
    assert comfy.post("/zoodip/v1/store", {"limit_mb": 32})["limit_mb"] == 32
    assert comfy.get("/zoodip/v1/store")["limit_mb"] == 32
    for bad in ({"limit_mb": 15}, {"limit_mb": 65537}, {"limit_mb": 20.5}, {"limit": 32}, [32]):
        with pytest.raises(urllib.error.HTTPError) as refused:
            comfy.post("/zoodip/v1/store", bad)
        assert refused.value.code == 422
    assert comfy.get("/zoodip/v1/store")["limit_mb"] == 32
    comfy.post("/zoodip/v1/store", {"limit_mb": 256})


def test_beyond_the_limit_the_oldest_is_dropped(comfy):
    old = succeeded(comfy, training(STEPS, "oldest")).progress[-1]["id"]
    # What the limit counts: a run of 20 MB, as big words with previews are.
    (token_file(comfy, old).with_name("preview.jpg")).write_bytes(bytes(20 << 20))
    comfy.post("/zoodip/v1/store", {"limit_mb": 16})
    try:
        wait_for(lambda: comfy.get("/zoodip/v1/store")["bytes"] <= 16 << 20, 30, "a smaller store")
        assert not token_file(comfy, old).exists()
        new = succeeded(comfy, training(STEPS, "newest")).progress[-1]["id"]
        assert token_file(comfy, new).is_file()
    finally:
        comfy.post("/zoodip/v1/store", {"limit_mb": 256})


def test_a_damaged_entry_is_trained_anew(comfy):
    key = succeeded(comfy, training(STEPS, "damaged")).progress[-1]["id"]
    token_file(comfy, key).write_bytes(b"")
    succeeded(comfy, training(STEPS, "between"))
    ran = run(comfy, training(STEPS, "damaged"))
    assert ran.end == "success" and learned_anew(ran)


def test_a_token_of_garbage_is_trained_anew(comfy):
    key = succeeded(comfy, training(STEPS, "garbage")).progress[-1]["id"]
    token_file(comfy, key).write_bytes(b"not a token")
    succeeded(comfy, training(STEPS, "between"))
    ran = run(comfy, training(STEPS, "garbage"))
    assert ran.end == "success" and learned_anew(ran)
