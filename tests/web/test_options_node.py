"""Training Options (ZO) in the page: what waits until it is asked for."""

import json
import re
from pathlib import Path

import pytest

HELP = Path(__file__).resolve().parents[2] / "web" / "docs" / "TrainingOptionsZO" / "en.md"

VISIBLE = """(advanced) => {
  const node = window.LiteGraph.createNode("TrainingOptionsZO");
  window.app.graph.add(node);
  if (advanced) node.toggleAdvanced();
  const shown = node.widgets.filter((widget) => node.isWidgetVisible(widget));
  return shown.map(({ name }) => name.replace("method.", ""));
}"""

# Values of a node that was made by `script`, by plain name, and how many widgets lie above another.
VALUES = """async (script) => {
  const node = window.LiteGraph.createNode("TrainingOptionsZO");
  window.app.graph.add(node);
  await new Function("node", script)(node);
  const values = node.widgets.map(({ name, value }) => [name.replace("method.", ""), value]);
  return Object.fromEntries(values);
}"""
SHOWN = (
    "preset method slope n mu directions direction_rank related_words batch chunk "
    "learning_rate learning_rate_schedule average_steps subspace tau nu timesteps t_lower t_upper "
    "vectors resolution flip threads memory_limit validate_every validation_samples early_stop "
    "divergence checkpoint_every checkpoints_kept preview_percent take"
)
BESIDE = SHOWN.split()
ESTIMATES = {"slope", "n", "mu", "directions", "direction_rank", "related_words"}
FOLDED_EXACT = [name for name in BESIDE if name not in ESTIMATES]
CHANGED = {"method": "exact", "learning_rate": 0.25, "flip": 0.125, "preview_percent": 3}


def values(page, script: str) -> dict:
    return page.evaluate(VALUES, script)


def saved(page, names: list) -> str:
    """A script that configures the node from a list of values as a host with these names saves it,
    with a socket for each."""
    made = {**values(page, ""), **CHANGED}
    spelling = {
        name: name if len(names) >= len(BESIDE) or name not in ESTIMATES else f"method.{name}"
        for name in names
    }
    sockets = [
        {"name": said, "type": "*", "link": None, "widget": {"name": said}}
        for said in spelling.values()
    ]
    info = {"widgets_values": [made[name] for name in names], "inputs": sockets}
    return (
        f"node.configure({{...node.serialize(), zoodip_names: undefined, ...{json.dumps(info)}}})"
    )


YOUNGER = ["mu_scale", "picture_sizes", "adam_eps"]  # settings that came after the first graphs


@pytest.mark.parametrize(
    "names",
    [BESIDE, FOLDED_EXACT, BESIDE + YOUNGER, FOLDED_EXACT + ["picture_sizes", "adam_eps"]],
    ids=["beside", "folded", "beside, of today", "folded, of today"],
)
def test_a_graph_of_either_kind_of_host_is_read(page, names):
    read = values(page, saved(page, names))
    assert {name: read[name] for name in CHANGED} == CHANGED
    assert read["take"] == "last" and read["t_upper"] == 900


def test_what_is_saved_is_read_again(page):
    script = (
        "const set = (name, value) => { const w = node.widgets.find((w) => w.name === name);"
        " w.value = value; w.callback?.(value); };"
        "set('method', 'spsa'); set('flip', 0.25);"
        "const info = JSON.parse(JSON.stringify(node.serialize()));"
        "node.configure({ ...info, widgets_values: info.widgets_values });"
    )
    read = values(page, script)
    assert (read["method"], read["flip"], read["take"]) == ("spsa", 0.25, "last")


@pytest.mark.parametrize("prefix", ["", "method."])
def test_a_prompt_of_either_kind_of_host_is_read(page, prefix):
    inputs = {"method": "rge", f"{prefix}n": 7, "flip": 0.125}
    prompt = {"1": {"class_type": "TrainingOptionsZO", "inputs": inputs}}
    page.evaluate("(prompt) => window.app.loadApiJson(prompt, 'prompt')", prompt)
    page.wait_for_function("() => window.app.graph._nodes.length === 1")
    sent = page.evaluate("async () => (await window.app.graphToPrompt()).output")
    (node,) = sent.values()
    read = {name.removeprefix("method."): value for name, value in node["inputs"].items()}
    assert (read["n"], read["flip"]) == (7, 0.125)


def test_settings_that_a_method_does_not_look_at_are_not_shown(page):
    shown = page.evaluate(
        """(method) => {
          const node = window.LiteGraph.createNode("TrainingOptionsZO");
          window.app.graph.add(node);
          const widget = node.widgets.find(({ name }) => name === "method");
          widget.value = method;
          widget.callback?.(method);
          const seen = node.widgets.filter((widget) => node.isWidgetVisible(widget));
          return [seen.map(({ name }) => name), node.size[1]];
        }""",
        "exact",
    )
    assert not ESTIMATES & {name.removeprefix("method.") for name in shown[0]}
    assert shown[1] < 330, "rows of hidden settings are left"


def test_advanced_options_are_there_when_asked_for(page):
    rows = re.findall(r"^\| `(\w+)`( \*)? \|", HELP.read_text(), re.MULTILINE)
    names = [name for name, _ in rows if name != "options"]
    shown = page.evaluate(VISIBLE, True)
    assert sorted(shown) == sorted(names)
    # In the help page's order, but for the younger ones, which stand at the node's end and there
    # with what they belong to.
    assert [name for name in shown if name not in YOUNGER] == [
        name for name in names if name not in YOUNGER
    ]
    assert page.evaluate(VISIBLE, False) == [
        name for name, star in rows if not star and name != "options"
    ]
