"""The workflow templates as they lie in files: nodes, links and groups of the front end."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "workflows"
FILES = sorted(FOLDER.glob("*.json"))
NAMES = [path.stem for path in FILES]
NOTE = "MarkdownNote"
_TITLE = 30  # height of a node's title, which stands above its position


def load(name: str) -> dict:
    return json.loads((FOLDER / f"{name}.json").read_text())


# Those that need no download.
RUNNABLE = [name for name in NAMES if "LoadDemoModelZO" in (FOLDER / f"{name}.json").read_text()]


@dataclass(frozen=True)
class Link:
    id: int
    source: int
    output: int
    target: int
    input: int
    type: str


def links(workflow: dict) -> list[Link]:
    return [Link(*values) for values in workflow["links"]]


def nodes(workflow: dict) -> dict[int, dict]:
    return {node["id"]: node for node in workflow["nodes"]}


def as_prompt(workflow: dict, widgets: Callable[[str], list[str]]) -> dict:
    """A template as the front end queues it, in ComfyUI's API format.

    widgets: the names of a node type's widgets in the order of their saved values.
    """
    prompt = {}
    for node in workflow["nodes"]:
        if node["type"] == NOTE:
            continue
        names, values = widgets(node["type"]), node.get("widgets_values") or []
        inputs = {
            name: value
            for name, value in zip(names, values, strict=True)
            if name != "control_after_generate"
        }
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": inputs}
    for link in links(workflow):
        slot = nodes(workflow)[link.target]["inputs"][link.input]
        prompt[str(link.target)]["inputs"][slot["name"]] = [str(link.source), link.output]
    return prompt


@dataclass(frozen=True)
class Box:
    """A rectangle of the canvas, in its units."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: "Box") -> bool:
        beside = self.right <= other.left or other.right <= self.left
        return not (beside or self.bottom <= other.top or other.bottom <= self.top)

    def holds(self, other: "Box") -> bool:
        across = self.left <= other.left and other.right <= self.right
        return across and self.top <= other.top and other.bottom <= self.bottom


def node_box(node: dict) -> Box:
    (x, y), (width, height) = node["pos"], node["size"]
    return Box(x, y - _TITLE, x + width, y + height)


def group_box(group: dict) -> Box:
    x, y, width, height = group["bounding"]
    return Box(x, y, x + width, y + height)
