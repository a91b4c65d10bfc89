"""Every template in the real front end; those that need no download are run, with fewer steps."""

import itertools
import urllib.parse

import pytest
import templates
from comfy import PACKAGE
from editor import set_setting
from templates import NAMES, NOTE, RUNNABLE, Box, group_box

STEPS = {"PersonalizeZO": 20, "KSampler": 2}

# Opens a template the way its card in the dialog does.
OPEN = """async ([address, name]) => {
  const reply = await window.comfyAPI.api.api.fetchApi(address);
  await window.app.loadGraphData(await reply.json(), true, true, name);
}"""

RUN = """async () => {
  const { api } = window.comfyAPI.api;
  const ends = ["execution_success", "execution_error", "execution_interrupted"];
  const ended = new Promise((done) => {
    for (const type of ends) {
      api.addEventListener(type, ({ detail }) => done({ type, ...detail }), { once: true });
    }
  });
  await window.app.queuePrompt(0, 1);
  const refused = Object.keys(window.app.lastNodeErrors ?? {});
  return refused.length ? { type: "refused", nodes: refused } : await ended;
}"""

# Nodes that are smaller than what they show.
TOO_SMALL = """() => window.app.graph._nodes
  .map((node) => [node.type, Array.from(node.size), Array.from(node.computeSize())])
  .filter(([, size, least]) => size[0] < least[0] || size[1] < least[1])"""

# The page looks for files of the user's and for a model's size on its hub. The browser notes each
# as an error of its own.
EXPECTED = ("/userdata", "net::ERR_", "Error fetching file size")
# A host without API nodes forbids its pages to ask that hub, which the browser notes otherwise.
EXPECTED += ("https://huggingface.co/",)
# Newer front ends ask older servers for what they do not have.
EXPECTED += ("/api/jobs", "JobsApiError")


def problems(page) -> list[str]:
    return [each for each in page.problems if not any(part in each for part in EXPECTED)]


def open_template(page, name: str):
    page.problems.clear()
    page.evaluate(OPEN, [f"/workflow_templates/{PACKAGE}/{urllib.parse.quote(name)}.json", name])
    nodes = len(templates.load(name)["nodes"])
    page.wait_for_function("(nodes) => window.app.graph._nodes.length === nodes", arg=nodes)


# What nodes drawn by Vue cover, in units of the canvas: they are larger than their saved sizes.
DRAWN_BY_VUE = """() => {
  const { ds } = window.app.canvas;
  const canvas = document.querySelector("#graph-canvas").getBoundingClientRect();
  return window.app.graph._nodes.map((node) => {
    const box = document.querySelector(`[data-node-id="${node.id}"]`).getBoundingClientRect();
    const x = (box.left - canvas.left) / ds.scale - ds.offset[0];
    const y = (box.top - canvas.top) / ds.scale - ds.offset[1];
    return [node.type, x, y, x + box.width / ds.scale, y + box.height / ds.scale];
  });
}"""
IN_VIEW = """() => {
  const { ds } = window.app.canvas;
  ds.scale = 0.5;
  ds.offset[0] = 40;
  ds.offset[1] = 120;
  window.app.canvas.setDirty(true, true);
}"""


@pytest.fixture
def vue(page):
    version = page.evaluate("() => window.__COMFYUI_FRONTEND_VERSION__")
    if [int(part) for part in version.split(".")[:2]] < [1, 50]:
        pytest.skip("this front end has no finished Nodes 2.0")
    set_setting(page, "Comfy.VueNodes.Enabled", True)
    yield page
    set_setting(page, "Comfy.VueNodes.Enabled", False)


@pytest.mark.parametrize("name", NAMES)
def test_nodes_drawn_by_vue_keep_clear_of_each_other_and_in_their_groups(vue, name):
    open_template(vue, name)
    vue.evaluate(IN_VIEW)
    count = len(templates.load(name)["nodes"])
    vue.wait_for_function(
        "(count) => document.querySelectorAll('[data-node-id]').length === count", arg=count
    )
    drawn = [(kind, Box(*box)) for kind, *box in settled(vue)]
    for (kind, box), (other, beside) in itertools.combinations(drawn, 2):
        assert not box.meets(beside), (kind, other)
    groups = [group_box(group) for group in templates.load(name)["groups"]]
    for kind, box in drawn:
        if kind != NOTE:
            assert sum(group.holds(box) for group in groups) == 1, (kind, box)


def settled(page) -> list:
    """The boxes once they stay what they are: nodes grow when they are first measured."""
    before = None
    while (boxes := page.evaluate(DRAWN_BY_VUE)) != before:
        before = boxes
        page.wait_for_timeout(500)
    return boxes


def shape(workflow: dict) -> dict:
    """What of a workflow the front end must not change."""
    nodes = {n["id"]: (n["type"], n.get("widgets_values") or []) for n in workflow["nodes"]}
    return {
        "nodes": nodes,
        "links": sorted(map(tuple, workflow["links"])),
        "groups": sorted(group["title"] for group in workflow["groups"]),
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_template_opens_as_it_was_saved(page, name):
    open_template(page, name)
    saved = page.evaluate("() => JSON.parse(JSON.stringify(window.app.graph.serialize()))")
    assert shape(saved) == shape(templates.load(name))
    assert page.evaluate(TOO_SMALL) == []
    assert problems(page) == []


def test_each_copy_of_a_template_is_a_workflow_of_its_own(page):
    ids = set()
    for _ in range(2):
        open_template(page, NAMES[0])
        ids.add(page.evaluate("() => String(window.app.graph.id)"))
    assert len(ids) == 2 and all(int(each.replace("-", ""), 16) for each in ids), ids


@pytest.mark.parametrize("name", NAMES)
def test_a_template_becomes_a_prompt(page, name):
    open_template(page, name)
    prompt = page.evaluate("async () => (await window.app.graphToPrompt()).output")
    workflow = templates.load(name)
    kinds = {str(n["id"]): n["type"] for n in workflow["nodes"] if n["type"] != NOTE}
    assert {number: node["class_type"] for number, node in prompt.items()} == kinds
    wired = {
        (str(link.target), str(link.source), link.output) for link in templates.links(workflow)
    }
    for number, node in prompt.items():
        for value in node["inputs"].values():
            if isinstance(value, list):
                wired.remove((number, str(value[0]), value[1]))
    assert wired == set()
    assert problems(page) == []


def run_template(page, comfy, name: str) -> dict:
    """Runs it with few steps; the history entry of its prompt."""
    open_template(page, name)
    page.evaluate(
        """(steps) => {
          for (const node of window.app.graph._nodes) {
            const widget = node.widgets?.find((widget) => widget.name === "steps");
            if (widget && node.type in steps) widget.value = steps[node.type];
          }
        }""",
        STEPS,
    )
    end = page.evaluate(RUN)
    assert end["type"] == "execution_success", end
    return comfy.wait(end["prompt_id"])


def pictures(entry: dict, name: str) -> dict[str, int]:
    """Title of each node that shows pictures -> how many it got."""
    nodes = templates.nodes(templates.load(name))
    counts = {}
    for number, output in entry["outputs"].items():
        if output.get("images"):
            node = nodes[int(number)]
            counts[node.get("title") or node["type"]] = len(output["images"])
    return counts


def test_the_demo_and_then_its_saved_word(page, comfy):
    demo = RUNNABLE[0]
    load = next(name for name in RUNNABLE if "saved word" in name)
    entry = run_template(page, comfy, demo)
    assert list(pictures(entry, demo).values()) == [4]
    assert ["embedding:zwx"] in [output.get("zoodip_text") for output in entry["outputs"].values()]
    entry = run_template(page, comfy, load)
    assert list(pictures(entry, load).values()) == [4]
    (told,) = [text[0] for o in entry["outputs"].values() if (text := o.get("zoodip_text"))]
    assert told.startswith("word: zwx\n") and "steps: 20\n" in told
    assert problems(page) == []


def test_two_words_in_one_picture(page, comfy):
    name = next(name for name in RUNNABLE if "Two words" in name)
    assert list(pictures(run_template(page, comfy, name), name).values()) == [4]
    assert problems(page) == []


def test_before_and_after(page, comfy):
    name = next(name for name in RUNNABLE if "Before and after" in name)
    counts = pictures(run_template(page, comfy, name), name)
    assert counts == {"What it learns from": 5, "Before": 4, "After": 4}
    assert problems(page) == []


def test_the_demo_of_xl(page, comfy):
    name = next(name for name in RUNNABLE if "XL" in name)
    entry = run_template(page, comfy, name)
    assert list(pictures(entry, name).values()) == [4]
    assert problems(page) == []
