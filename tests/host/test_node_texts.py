"""The locale file says what the nodes say of themselves, and the page is given the help."""

import json
import re
from pathlib import Path

import pytest
from comfy import PACKAGE

LOCALE = Path(__file__).resolve().parents[2] / "locales" / "en" / "nodeDefs.json"
NODES = json.loads(LOCALE.read_text())
# What the front end's message compiler takes for its own; the locale says it in other words.
SPECIAL = set("{}@|")


@pytest.fixture
def served(comfy) -> dict:
    """The package's own nodes as ComfyUI describes them."""
    nodes = comfy.get("/object_info")
    return {k: v for k, v in nodes.items() if v["python_module"] == f"custom_nodes.{PACKAGE}"}


def described(inputs: dict) -> dict[str, dict]:
    """Name -> what is said of an input; those that a host folds into another follow it."""
    found = {}
    for kind in ("required", "optional"):
        for name, spec in inputs.get(kind, {}).items():
            found[name] = spec[1]
            if spec[0] == "COMFY_DYNAMICCOMBO_V3":
                for option in spec[1]["options"]:
                    found |= described(option["inputs"])
    return found


def inputs_of(node: dict) -> dict[str, tuple[str, str]]:
    """Name -> label and tooltip."""
    inputs = described(node["input"])
    return {
        name: (spec.get("display_name") or name, spec["tooltip"]) for name, spec in inputs.items()
    }


def outputs_of(node: dict) -> dict[str, tuple[str, str]]:
    """Place -> name and tooltip."""
    pairs = zip(node["output_name"], node["output_tooltips"], strict=True)
    return {str(place): pair for place, pair in enumerate(pairs)}


def same(said: str, own: str) -> bool:
    return bool(said) if set(own) & SPECIAL else said == own


def test_the_locale_has_every_node_and_no_other(served):
    assert set(served) == set(NODES)


@pytest.mark.parametrize("name", NODES)
def test_texts_of_the_locale_are_those_of_the_node(served, name):
    own, said = served[name], NODES[name]
    assert said["display_name"] == own["display_name"]
    assert said["description"] == own["description"]
    assert list(said.get("inputs", {})) == list(inputs_of(own))
    for key, (label, tooltip) in inputs_of(own).items():
        assert said["inputs"][key]["name"] == label
        assert same(said["inputs"][key]["tooltip"], tooltip), (key, tooltip)
    assert list(said["outputs"]) == list(outputs_of(own))
    for key, (title, tooltip) in outputs_of(own).items():
        assert said["outputs"][key]["name"] == title
        assert same(said["outputs"][key]["tooltip"], tooltip), (title, tooltip)


def test_the_page_is_given_the_locale(comfy):
    given = comfy.get("/i18n")["en"]["nodeDefs"]
    assert {name: given.get(name) for name in NODES} == NODES


@pytest.mark.parametrize("name", NODES)
def test_the_page_is_given_the_help(comfy, name):
    text = comfy.get(f"/extensions/{PACKAGE}/docs/{name}/en.md").decode()
    assert text.startswith(f"# {NODES[name]['display_name']}\n")


def test_the_page_is_given_all_settings(comfy):
    assert comfy.get("/zoodip/settings").decode().startswith("# Settings\n")


def test_advanced_options_are_those_with_a_star_in_the_help(comfy, served):
    text = comfy.get(f"/extensions/{PACKAGE}/docs/TrainingOptionsZO/en.md").decode()
    starred = set(re.findall(r"^\| `(\w+)` \* \|", text, re.MULTILINE))
    inputs = described(served["TrainingOptionsZO"]["input"])
    assert {name for name, spec in inputs.items() if spec.get("advanced")} == starred
    assert starred and starred < set(inputs)
