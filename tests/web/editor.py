"""Acts on the front end the way its user does, and reads what it shows."""

import io

PANEL = ".zoodip-panel"

# A workflow as it lies in a file: nodes are made, wired and serialised, and that is loaded.
LOAD_WORKFLOW = """async (widgets) => {
  const graph = window.app.graph;
  graph.clear();
  const make = (type, x, y, values = {}) => {
    const node = window.LiteGraph.createNode(type);
    node.pos = [x, y];
    graph.add(node);
    for (const widget of node.widgets ?? []) {
      if (widget.name in values) widget.value = values[widget.name];
    }
    return node;
  };
  const model = make("LoadDemoModelZO", 40, 60);
  const images = make("LoadTrainingImagesZO", 40, 220,
    { folder: "zoodip demo/blue_spotted_dog", size: 128 });
  const personalize = make("PersonalizeZO", 420, 60,
    { word: "zwx", initialiser: "dog", ...widgets });
  const info = make("TokenInfoZO", 920, 60);
  const wire = (from, output, to, input) => {
    const slot = to.inputs.findIndex((candidate) => candidate.name === input);
    from.connect(output, to, slot);
  };
  wire(model, 0, personalize, "model");
  wire(model, 1, personalize, "clip");
  wire(model, 2, personalize, "vae");
  wire(images, 0, personalize, "images");
  const token = personalize.outputs.findIndex((output) => output.type === "ZO_TOKEN");
  wire(personalize, token, info, "token");
  const saved = JSON.parse(JSON.stringify(graph.serialize()));
  saved.id = crypto.randomUUID();
  graph.clear();
  await window.app.loadGraphData(saved, true, true, "zoodip test");
  return saved;
}"""

FIND = "(type) => window.app.graph._nodes.find((node) => node.comfyClass === type)"


def load_workflow(page, steps: int, seed: int) -> dict:
    """Opens the demo workflow in the page; returns it in the format of a workflow file."""
    saved = page.evaluate(LOAD_WORKFLOW, {"steps": steps, "train_seed": seed})
    page.locator(PANEL).wait_for()
    frame_workflow(page)
    return saved


def frame_workflow(page):
    """Puts the three columns of the workflow into view at full size."""
    page.evaluate(
        "() => { const ds = window.app.canvas.ds; ds.scale = 1; ds.offset[0] = 60;"
        " ds.offset[1] = 60; window.app.canvas.setDirty(true, true); }"
    )


def run_workflow(page):
    page.evaluate("() => window.app.queuePrompt(0, 1)")


def panel_state(page) -> str:
    return page.locator(PANEL).get_attribute("data-state")


def wait_for_state(page, *states: str, seconds: float = 240):
    selector = ", ".join(f'{PANEL}[data-state="{state}"]' for state in states)
    page.locator(selector).wait_for(timeout=seconds * 1000)


def wait_for_step(page, at_least: int, seconds: float = 240):
    page.wait_for_function(
        "([selector, step]) => document.querySelector(selector)?.value >= step",
        arg=[f"{PANEL} progress", at_least],
        timeout=seconds * 1000,
    )


def progress(page) -> tuple[int, int]:
    """(step, steps) of the progress element."""
    bar = page.locator(f"{PANEL} progress")
    return int(bar.evaluate("e => e.value")), int(bar.evaluate("e => e.max"))


def node_size(page, node_type: str = "PersonalizeZO") -> list[float]:
    return page.evaluate(f"(type) => Array.from(({FIND})(type).size)", node_type)


def curve_pixels(page) -> int:
    """How many pixels of the plot, as it is on the screen, have the colour of the curve."""
    import numpy as np
    from PIL import Image

    plot = page.locator(f"{PANEL} .zoodip-plot")
    if not plot.is_visible():
        return 0
    wanted = np.array(css_colour(page, f"{PANEL} .zoodip-smooth", "stroke"))
    picture = np.array(Image.open(io.BytesIO(plot.screenshot())).convert("RGB"), dtype=int)
    return int((abs(picture - wanted).max(axis=2) <= 24).sum())


def css_colour(page, selector: str, name: str) -> list[int]:
    """Red, green and blue of a computed colour, whatever notation the browser has for it."""
    return page.locator(selector).first.evaluate(
        """(element, name) => {
          const context = document.createElement("canvas").getContext("2d");
          context.fillStyle = getComputedStyle(element)[name];
          context.fillRect(0, 0, 1, 1);
          return Array.from(context.getImageData(0, 0, 1, 1).data.slice(0, 3));
        }""",
        name,
    )


def set_setting(page, name: str, value):
    page.evaluate(
        "([name, value]) => window.app.extensionManager.setting.set(name, value)", [name, value]
    )


def focused(page) -> str:
    """The text, or the accessible name, of what has the keyboard."""
    return page.evaluate(
        "() => { const e = document.activeElement;"
        " return e.getAttribute('aria-label') ?? e.textContent; }"
    )
