"""Training Options (ZO) in the page: what waits until it is asked for."""

import re
from pathlib import Path

HELP = Path(__file__).resolve().parents[2] / "web" / "docs" / "TrainingOptionsZO" / "en.md"

VISIBLE = """(advanced) => {
  const node = window.LiteGraph.createNode("TrainingOptionsZO");
  window.app.graph.add(node);
  if (advanced) node.toggleAdvanced();
  return node.widgets.filter((widget) => node.isWidgetVisible(widget)).map(({ name }) => name);
}"""


def test_advanced_options_are_there_when_asked_for(page):
    rows = re.findall(r"^\| `(\w+)`( \*)? \|", HELP.read_text(), re.MULTILINE)
    names = [name for name, _ in rows if name != "options"]
    assert page.evaluate(VISIBLE, True) == names
    assert page.evaluate(VISIBLE, False) == [
        name for name, star in rows if not star and name != "options"
    ]
