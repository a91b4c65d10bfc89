"""Training Options (ZO) as ComfyUI takes it: found, checked at once, and spelled in either way."""

import json
import urllib.error
from pathlib import Path

import pytest
from comfy import PACKAGE
from graphs import node, options, run, succeeded, training

SEARCHED = ("textual inversion", "embedding", "dreambooth", "train", "learn word")


def asking(**changed) -> dict:
    return training(2, **{"options": ["5", 0]}) | {"5": options(**changed)}


def folded(prompt: dict) -> dict:
    """A prompt as a host that folds settings into the method spells it."""
    inputs = dict(prompt["5"]["inputs"])
    for name in ("slope", "n", "mu", "directions", "direction_rank", "related_words"):
        inputs[f"method.{name}"] = inputs.pop(name)
    return prompt | {"5": node("TrainingOptionsZO", **inputs)}


def beside(prompt: dict) -> dict:
    """As one that has them beside it."""
    inputs = {key.removeprefix("method."): value for key, value in prompt["5"]["inputs"].items()}
    return prompt | {"5": node("TrainingOptionsZO", **inputs)}


def test_both_spellings_are_one_training(comfy):
    changed = asking(n=3, threads=1)
    runs = [
        succeeded(comfy, spelled(changed), workflow=spelled.__name__)
        for spelled in (folded, beside)
    ]
    keys = [run.progress[-1]["id"] for run in runs]
    assert keys[0] == keys[1]
    assert "n 3" in runs[0].text("9").replace(":", "")
    plain = succeeded(comfy, asking(threads=1), workflow="plain")
    assert plain.progress[-1]["id"] != keys[0]


def spec(comfy) -> dict:
    described = comfy.get("/object_info/TrainingOptionsZO")["TrainingOptionsZO"]
    return described["input"]["required"]


def refusal(comfy, prompt: dict) -> str:
    with pytest.raises(urllib.error.HTTPError) as raised:
        comfy.queue(prompt)
    assert raised.value.code == 400
    (error,) = json.loads(raised.value.read())["node_errors"]["5"]["errors"]
    return error["details"]


@pytest.mark.parametrize("side", [100, 520, 2112, -64])
def test_a_side_that_no_model_takes_is_refused_before_anything_runs(comfy, side):
    assert "multiple of 64 up to 2048, or 0 for" in refusal(comfy, asking(resolution=side))
    assert f"got {side}" in refusal(comfy, asking(resolution=side))


def test_presets_of_all_families_are_offered(comfy):
    assert spec(comfy)["preset"][1]["options"] == [
        "auto",
        "few_passes",
        "paper",
        "sd15",
        "sd21",
        "sdxl",
    ]


@pytest.mark.parametrize(("name", "other"), [("preset", "flux"), ("method", "adam")])
def test_what_is_no_choice_is_refused_by_name(comfy, name, other):
    """Some hosts refuse it with the prompt; the node does on all."""
    prompt = asking(**{name: other})
    try:
        assert f"{name}: needs one of " in run(comfy, prompt).message
    except urllib.error.HTTPError as error:
        assert f"{name}: '{other}' not in" in error.read().decode()


def test_nodes_are_found_by_what_people_look_for(comfy):
    nodes = comfy.get("/object_info")
    if "search_aliases" not in nodes["KSampler"]:
        pytest.skip("this ComfyUI has no search aliases")
    own = {k: v for k, v in nodes.items() if v["python_module"] == f"custom_nodes.{PACKAGE}"}
    assert own and all(described["search_aliases"] for described in own.values())
    for name in ("PersonalizeZO", "PersonalizeFromCheckpointZO"):
        assert set(SEARCHED) <= set(own[name]["search_aliases"])


def test_templates_are_listed_in_order(comfy):
    listed = comfy.get("/workflow_templates")[PACKAGE]
    shipped = sorted((Path(__file__).parents[2] / "workflows").glob("*.json"))
    assert [name[:2] for name in listed] == [f"{number} " for number in range(1, len(shipped) + 1)]
    assert comfy.get("/api/workflow_templates")[PACKAGE] == listed
