"""Names, tooltips and help pages of the nodes. Needs no ComfyUI; tests/host compares the names and
tooltips with those that the nodes give themselves."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "web" / "docs"
NODES = json.loads((ROOT / "locales" / "en" / "nodeDefs.json").read_text())
LINK = re.compile(r"\]\(([^)\s]+)\)")
# Of a person's or a build machine's disk.
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:home|root|tmp|usr|mnt|Users)/|\b[A-Z]:\\")


def page(name: str) -> str:
    return (DOCS / name / "en.md").read_text()


def texts(value) -> list[str]:
    if isinstance(value, dict):
        return [text for part in value.values() for text in texts(part)]
    return [value]


def shipped_texts() -> list[Path]:
    found = [*DOCS.rglob("*"), *(ROOT / "locales").rglob("*"), *(ROOT / "workflows").glob("*.json")]
    return [path for path in found if path.is_file()]


def test_every_node_has_a_help_page_and_every_page_a_node():
    pages = {path.parent.name for path in DOCS.glob("*/en.md")}
    assert pages == set(NODES)
    assert {path.name for path in DOCS.iterdir()} == set(NODES)


@pytest.mark.parametrize("name", NODES)
def test_a_help_page_is_about_its_node(name):
    text = page(name)
    assert text.splitlines()[0] == f"# {NODES[name]['display_name']}"
    inputs, outputs = NODES[name].get("inputs", {}), NODES[name]["outputs"]
    assert ("\n## Inputs\n" in text) == bool(inputs)
    assert "\n## Outputs\n" in text
    named = [*inputs, *(output["name"] for output in outputs.values())]
    assert [each for each in named if f"`{each}`" not in text] == []


@pytest.mark.parametrize("name", NODES)
def test_links_of_a_help_page_lead_somewhere(name):
    for target in LINK.findall(page(name)):
        # The front end turns relative links of images only.
        assert target.startswith("https://") or (DOCS / target).is_file(), target


@pytest.mark.parametrize("name", NODES)
def test_texts_of_a_node_are_read_the_same_by_every_front_end(name):
    # Brackets, @ and | mean something to the message compiler of the front end, which newer ones
    # leave out for tooltips: no way of writing them is right for both.
    for text in texts(NODES[name]):
        assert text.strip() == text != ""
        assert not set(text) & set("{}@|"), text


def test_no_text_names_a_place_on_a_machine():
    files = shipped_texts()
    assert len(files) > 2 * len(NODES)
    found = [path.name for path in files if MACHINE_PATH.search(path.read_text())]
    assert found == []
