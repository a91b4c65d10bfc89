"""What of a run the curve shows: fixed samples as dots, single steps faint behind them."""

import pytest

MODULES = "/extensions/ComfyUI-ZOODiP/"

DRAWN = """async ({ folder, points, validations }) => {
  const { LossCurve } = await import(folder + "curve.js");
  const curve = new LossCurve();
  curve.element.style.cssText = "position:fixed;left:0;top:0;width:400px;height:200px;z-index:9999";
  document.querySelector(".zoodip-panel").append(curve.element);
  curve.setPoints(points, validations);
  const part = (name) => curve.element.querySelector(name);
  const dots = [...curve.element.querySelectorAll(".zoodip-dots circle")];
  const opacity = (name) => Number(getComputedStyle(part(name)).strokeOpacity);
  const labels = [...part(".zoodip-labels").children].map((label) => label.textContent);
  const shown = {
    dots: dots.map((dot) => [Number(dot.getAttribute("cx")), Number(dot.getAttribute("cy"))]),
    raw: opacity(".zoodip-raw"),
    smooth: opacity(".zoodip-smooth"),
    legend: part(".zoodip-legend").innerText.split("\\n"),
    low: Number(labels[1]),
    high: Number(labels[0]),
    first: labels[2],
    empty: getComputedStyle(part(".zoodip-empty")).display !== "none",
  };
  curve.element.dispatchEvent(new KeyboardEvent("keydown", { key: "End" }));
  shown.spoken = curve.element.getAttribute("aria-valuetext");
  curve.element.remove();
  return shown;
}"""


def drawn(page, points: list, validations: list) -> dict:
    given = {"folder": MODULES, "points": points, "validations": validations}
    return page.evaluate(DRAWN, given)


@pytest.fixture
def page(page):
    # void: a node is too deep to be handed out of the page.
    page.evaluate("() => void window.app.graph.add(window.LiteGraph.createNode('PersonalizeZO'))")
    page.locator(".zoodip-panel").wait_for(state="attached")
    return page


# Single steps swing from 0 to 1; what is learned is a hundredth of that.
NOISE = [[step, step % 2, 0.5 + step / 1e4] for step in range(1, 201)]
FIXED = [[0, 0.5], [100, 0.496], [200, 0.49]]


def test_fixed_samples_are_dots_from_before_the_first_step_on(page):
    shown = drawn(page, NOISE, FIXED)
    xs, ys = zip(*shown["dots"], strict=True)
    assert len(xs) == 3 and list(xs) == sorted(xs)
    assert list(ys) == sorted(ys), "a lower loss lies lower"
    assert shown["first"] == "0"
    assert shown["raw"] < shown["smooth"] < 1
    assert shown["legend"] == ["fixed samples", "smoothed", "steps"]
    assert "fixed samples 0.49" in shown["spoken"]


def test_the_noise_of_single_steps_does_not_press_the_dots_flat(page):
    shown = drawn(page, NOISE, FIXED)
    assert shown["high"] - shown["low"] < 0.05
    ys = [y for _, y in shown["dots"]]
    assert max(ys) - min(ys) > 30


def test_the_first_dot_is_shown_before_any_step(page):
    shown = drawn(page, [], FIXED[:1])
    assert len(shown["dots"]) == 1 and not shown["empty"]


def test_without_fixed_samples_the_smoothed_steps_count(page):
    shown = drawn(page, NOISE, [])
    assert shown["dots"] == [] and shown["smooth"] == 1
    assert shown["legend"] == ["smoothed", "steps"]
