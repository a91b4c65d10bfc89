"""Captions (ZO): sets are named as in settings, and graphs that were saved before run on."""

import json
import urllib.error

import pytest
from graphs import node, run, succeeded, training


def with_set(name: str) -> dict:
    captions = node("CaptionsZO", template_set=name, text="", count=5)
    return training(1, captions=["4", 0]) | {"4": captions}


def test_an_earlier_name_is_the_same_training(comfy):
    offered = comfy.get("/object_info/CaptionsZO")["CaptionsZO"]["input"]["required"]
    assert offered["template_set"][1]["options"] == ["lines below", "object", "style"]
    keys = [succeeded(comfy, with_set(name)).progress[-1]["id"] for name in ("styles", "style")]
    assert keys[0] == keys[1]


def test_a_set_that_is_not_there_is_refused_before_anything_runs(comfy):
    with pytest.raises(urllib.error.HTTPError) as raised:
        run(comfy, with_set("poems"))
    (error,) = json.loads(raised.value.read())["node_errors"]["4"]["errors"]
    assert "choose one of lines below, object, style" in error["details"]
