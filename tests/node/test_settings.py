"""The declaration that the nodes show is the engine's own."""

from __future__ import annotations

import json
import re
from pathlib import Path

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


def test_every_setting_is_on_a_node_or_told_otherwise():
    names = list(settings.options())
    assert set(names) | settings.ELSEWHERE == set(settings.declared()) | {"preview_percent"}
    assert not set(names) & settings.ELSEWHERE
    assert set(names) > settings.AT_ONCE


def test_settings_of_a_group_follow_one_another():
    groups = [field["group"] for field in settings.declared().values()]
    starts = [at for at, group in enumerate(groups) if at == 0 or groups[at - 1] != group]
    assert len(starts) == len(set(groups))


def test_the_help_page_says_defaults_and_marks_what_is_advanced():
    docs = Path(__file__).resolve().parents[2] / "web" / "docs"
    page = (docs / "TrainingOptionsZO" / "en.md").read_text()
    for name, field in settings.options().items():
        default = field["default"]
        star, said = re.search(rf"^\| `{name}`( \*)? \| (.*?) ?\|", page, re.MULTILINE).groups()
        assert bool(star) == (name not in settings.AT_ONCE), name
        number = isinstance(default, int | float) and not isinstance(default, bool)
        assert said == (f"{default:g}" if number else {True: "on"}.get(default, default)), name


def test_only_what_differs_from_the_defaults_is_handed_on():
    values = {name: field["default"] for name, field in settings.options().items()}
    assert settings.chosen(values) == {}
    assert settings.chosen({**values, "n": 4, "subspace": False}) == {"n": 4, "subspace": False}


def test_precisions_are_settings_of_the_engine():
    for precision in settings.PRECISIONS.values():
        for name, value in precision.items():
            assert value in settings.declared()[name]["choices"]


def test_tooltips_say_all():
    for field in settings.options().values():
        text = settings.help_text(field)
        assert field["help"] in text
        assert field.get("unit", "") in text
        assert field.get("equation", "") in text
