"""Screenshots in light and dark, for people to look at; what can be measured is checked."""

import re

import pytest
from editor import (
    PANEL,
    css_colour,
    frame_workflow,
    load_workflow,
    run_workflow,
    set_setting,
    wait_for_state,
    wait_for_step,
)


def version(page) -> str:
    return page.evaluate("() => window.__COMFYUI_FRONTEND_VERSION__")


def shades(page, selector: str) -> tuple[float, float]:
    """Relative luminance of the text and of the panel's surface."""
    text = css_colour(page, selector, "color")
    surface = css_colour(page, PANEL, "backgroundColor")

    def luminance(colour):
        linear = [
            c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
            for c in (value / 255 for value in colour)
        ]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    return luminance(text), luminance(surface)


def contrast(page, selector: str) -> float:
    """WCAG 2 contrast ratio of the text at `selector` on the panel."""
    light, dark = sorted(shades(page, selector), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("palette", ["dark", "light"])
def test_the_panel_in_a_palette(page, out, palette):
    set_setting(page, "Comfy.ColorPalette", palette)
    load_workflow(page, steps=1500, seed=51 if palette == "dark" else 52)
    run_workflow(page)
    wait_for_state(page, "training")
    wait_for_step(page, 100, seconds=300)
    page.locator(f"{PANEL} img").wait_for(timeout=300_000)
    page.screenshot(path=out / f"{version(page)}-{palette}-training.png")
    text, surface = shades(page, f"{PANEL} .zoodip-state")
    assert (text > surface) == (palette == "dark")
    parts = ("state", "passes", "products", "share", "legend")
    for part in ("dt", *(f".zoodip-{name}" for name in parts)):
        assert contrast(page, f"{PANEL} {part}") >= 4.5, part
    page.get_by_role("button", name="Stop and keep").click()
    wait_for_state(page, "stopped")
    page.screenshot(path=out / f"{version(page)}-{palette}-stopped.png")
    set_setting(page, "Comfy.ColorPalette", "dark")


def test_the_panel_in_nodes_drawn_by_vue(page, out):
    if int(re.match(r"1\.(\d+)", version(page))[1]) < 50:
        pytest.skip("this front end has no finished Nodes 2.0")
    set_setting(page, "Comfy.VueNodes.Enabled", True)
    try:
        load_workflow(page, steps=400, seed=53)
        page.locator("[data-node-id]").first.wait_for()
        frame_workflow(page)
        run_workflow(page)
        wait_for_state(page, "finished", seconds=300)
        box = page.locator(PANEL).bounding_box()
        node = page.locator("[data-node-id]", has=page.locator(PANEL)).bounding_box()
        assert node["x"] <= box["x"] and box["x"] + box["width"] <= node["x"] + node["width"]
        assert box["height"] >= 250
        # The host draws previews of its own, which the panel shows already.
        page.locator(f"{PANEL} img").wait_for()
        others = page.locator(f"[data-node-id]:has({PANEL}) img:not({PANEL} img)")
        assert not any(other.is_visible() for other in others.all())
        assert box["y"] + box["height"] <= node["y"] + node["height"]
        page.screenshot(path=out / f"{version(page)}-vue.png")
    finally:
        set_setting(page, "Comfy.VueNodes.Enabled", False)
