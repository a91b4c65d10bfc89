"""The templates fit the nodes that ComfyUI has; tests/web opens and runs them."""

import itertools
import urllib.parse

import pytest
import templates
from comfy import PACKAGE
from PIL import Image
from templates import FOLDER, NAMES, NOTE, RUNNABLE, group_box, node_box

THUMBNAIL_BYTES = 64_000
THUMBNAIL_SIDE = 512
WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")
# What can be chosen depends on the files that a user has.
BY_FILES = {("CheckpointLoaderSimple", "ckpt_name"), ("LoraLoader", "lora_name")}
BY_FILES.add(("LoadTokenZO", "name"))
OF_THE_FRONT_END = ["fixed", "increment", "decrement", "randomize"]

# A word of each title, in the order of the list.
TOPICS = ("Demo", "Checkpoint", "LoRA", "style", "Two words", "Before and after", "saved word")
TOPICS += ("of XL",)


@pytest.fixture
def kinds(comfy) -> dict:
    return comfy.get("/object_info")


def described(kind: dict) -> dict[str, tuple[object, dict]]:
    """Input name -> its type, a list for choices, and its options."""
    return flat(kind["input"])


def flat(inputs: dict) -> dict[str, tuple[object, dict]]:
    """What a host folds into a choice stands behind it, as in a template: there it is the first."""
    both = {**inputs.get("required", {}), **inputs.get("optional", {})}
    found = {}
    for name, spec in both.items():
        said, how = spec[0], spec[1] if len(spec) > 1 else {}
        if said == "COMFY_DYNAMICCOMBO_V3":
            choices = how["options"]
            found[name] = ("COMBO", {"options": [choice["key"] for choice in choices]})
            found |= flat(choices[0]["inputs"])
        else:
            found[name] = (said, how)
    return found


def type_of(kind: dict, name: str) -> str:
    said, _ = described(kind)[name]
    return "COMBO" if isinstance(said, list) else said


def widgets(kind: dict) -> list[tuple[str, object]]:
    """Name and accepted values (a list, a type or limits) of each widget, in the order shown."""
    found = []
    for name, (said, how) in described(kind).items():
        if isinstance(said, list) or said == "COMBO":
            found.append((name, said if isinstance(said, list) else how["options"]))
        elif said in WIDGETS and not how.get("forceInput"):
            found.append((name, (said, how.get("min"), how.get("max"))))
            if how.get("control_after_generate"):
                found.append(("control_after_generate", OF_THE_FRONT_END))
    return found


def accepts(allowed, value) -> bool:
    if isinstance(allowed, list):
        return value in allowed
    kind, least, most = allowed
    if kind == "STRING":
        return isinstance(value, str)
    if kind == "BOOLEAN":
        return isinstance(value, bool)
    number = isinstance(value, (int, float) if kind == "FLOAT" else int)
    return number and not isinstance(value, bool) and least <= value <= most


def real_nodes(workflow: dict) -> list[dict]:
    return [node for node in workflow["nodes"] if node["type"] != NOTE]


def test_there_is_a_template_for_each_topic():
    assert [topic for topic, name in zip(TOPICS, NAMES, strict=True) if topic not in name] == []


def test_templates_have_no_id_so_that_each_copy_gets_its_own():
    assert [name for name in NAMES if "id" in templates.load(name)] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_template_has_a_small_thumbnail(name):
    path = FOLDER / f"{name}.jpg"
    assert path.stat().st_size <= THUMBNAIL_BYTES
    with Image.open(path) as picture:
        assert picture.format == "JPEG"
        assert picture.width <= THUMBNAIL_SIDE and picture.height <= picture.width


@pytest.mark.parametrize("name", NAMES)
def test_a_template_says_what_it_shows_and_what_to_change(name):
    notes = [node for node in templates.load(name)["nodes"] if node["type"] == NOTE]
    (text,) = [node["widgets_values"][0] for node in notes]
    assert text.startswith("## ") and "**Change**" in text
    assert ("othing to download" in text) == (name in RUNNABLE)
    assert ("Needs a Stable Diffusion 1.5 checkpoint" in text) == (name not in RUNNABLE)


@pytest.mark.parametrize("name", NAMES)
def test_a_template_is_laid_out_readably(name):
    workflow = templates.load(name)
    boxes = {node["id"]: node_box(node) for node in workflow["nodes"]}
    overlaps = [
        pair for pair in itertools.combinations(boxes, 2) if boxes[pair[0]].meets(boxes[pair[1]])
    ]
    assert overlaps == []
    groups = [group_box(group) for group in workflow["groups"]]
    assert not any(one.meets(other) for one, other in itertools.combinations(groups, 2))
    assert all(group["title"] for group in workflow["groups"])
    for node in real_nodes(workflow):
        assert sum(group.holds(boxes[node["id"]]) for group in groups) == 1, node["type"]


@pytest.mark.parametrize("name", NAMES)
def test_links_join_slots_of_the_same_type(kinds, name):
    workflow = templates.load(name)
    nodes = templates.nodes(workflow)
    for link in templates.links(workflow):
        source, target = nodes[link.source], nodes[link.target]
        output, slot = source["outputs"][link.output], target["inputs"][link.input]
        assert link.id in output["links"] and slot["link"] == link.id
        assert kinds[source["type"]]["output"][link.output] == link.type == output["type"]
        assert kinds[source["type"]]["output_name"][link.output] == output["name"]
        assert type_of(kinds[target["type"]], slot["name"]) == link.type == slot["type"]
    known = {link.id for link in templates.links(workflow)}
    for node in workflow["nodes"]:
        ends = {slot["link"] for slot in node.get("inputs", [])} - {None}
        starts = {each for slot in node.get("outputs", []) for each in slot["links"] or []}
        assert ends | starts <= known


@pytest.mark.parametrize("name", NAMES)
def test_nodes_are_known_and_wired(kinds, name):
    for node in real_nodes(templates.load(name)):
        kind = kinds[node["type"]]
        wired = {slot["name"] for slot in node["inputs"] if slot["link"] is not None}
        with_widget = {widget for widget, _ in widgets(kind)}
        assert set(kind["input"].get("required", {})) <= wired | with_widget, node["type"]
        names = {slot["name"] for slot in node["inputs"]}
        assert names <= set(described(kind)), node["type"]


@pytest.mark.parametrize("name", NAMES)
def test_values_of_widgets_are_valid(kinds, name):
    for node in real_nodes(templates.load(name)):
        expected = widgets(kinds[node["type"]])
        values = node.get("widgets_values", [])
        assert len(values) == len(expected), node["type"]
        for (widget, allowed), value in zip(expected, values, strict=True):
            if (node["type"], widget) in BY_FILES:
                assert value.endswith(".safetensors")
            else:
                assert accepts(allowed, value), (node["type"], widget, value)


def test_comfyui_lists_and_serves_the_templates(comfy):
    assert sorted(comfy.get("/workflow_templates")[PACKAGE]) == NAMES
    for path in FOLDER.iterdir():
        served = comfy.get(f"/api/workflow_templates/{PACKAGE}/{urllib.parse.quote(path.name)}")
        assert served == (
            templates.load(path.stem) if path.suffix == ".json" else path.read_bytes()
        )
