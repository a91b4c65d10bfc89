"""The declaration that the nodes show is the engine's own."""

from __future__ import annotations

import json

import pytest
from comfyui_zoodip.node import settings
from comfyui_zoodip.node.native import engine_problem, zoodip


def test_the_file_is_what_the_engine_declares():
    problem = engine_problem()
    if problem is not None:
        pytest.skip(problem)
    declared = json.loads(settings.FILE.read_text())
    assert declared == json.loads(json.dumps(zoodip().settings())), (
        f"write it anew: json.dump(zoodip.settings(), file, indent=2) to {settings.FILE.name}"
    )


def test_every_setting_is_on_a_node_or_told_by_a_wire():
    names = [field["name"] for field in settings.advanced()]
    assert len(names) == len(set(names))
    assert set(names) | settings.ELSEWHERE == set(settings.declared()) | {"preview_percent"}
    assert not set(names) & settings.ELSEWHERE


def test_only_what_differs_from_the_defaults_is_handed_on():
    values = {field["name"]: field["default"] for field in settings.advanced()}
    assert settings.chosen(values) == {}
    assert settings.chosen({**values, "n": 4, "subspace": False}) == {"n": 4, "subspace": False}


def test_precisions_are_settings_of_the_engine():
    for precision in settings.PRECISIONS.values():
        for name, value in precision.items():
            assert value in settings.declared()[name]["choices"]


def test_tooltips_say_all():
    for field in settings.advanced():
        text = settings.help_text(field)
        assert field["help"] in text
        assert field.get("unit", "") in text
        assert field.get("equation", "") in text
