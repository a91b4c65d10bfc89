"""A real ComfyUI with each front end, and pages of it in Chromium."""

import os
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "tools"))
sys.path.append(str(Path(__file__).resolve().parent))

from comfy import HOW_TO_RUN, Comfy, chromium, comfyui_dir, wait_for  # noqa: E402

OUT = Path(__file__).parent / "out"
PAGE_TIMEOUT_MS = 60_000

# The installed front end, and the static folders of others.
FRONT_ENDS = ["", *filter(None, os.environ.get("COMFYUI_FRONTEND_ROOTS", "").split(":"))]

SETTINGS = {
    "Comfy.TutorialCompleted": True,
    "Comfy.Locale": "en",
    "Comfy.Queue.ShowNoQueueWarning": False,
    "Comfy.Graph.CanvasInfo": False,
}


def pytest_collection_modifyitems(items):
    here = Path(__file__).parent
    if comfyui_dir() is not None:
        return
    for item in items:
        if here in item.path.parents and "comfy" in item.fixturenames:
            item.add_marker(pytest.mark.skip(reason=f"{HOW_TO_RUN}; and Chromium (CHROMIUM)"))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """Shows the server's log, and the page as it was, for a test that failed."""
    outcome = yield
    report = outcome.get_result()
    if not report.failed:
        return
    server = item.funcargs.get("comfy")
    if server is not None:
        report.sections.append(("ComfyUI's log", server.log_tail()))
    page = item.funcargs.get("page")
    if page is not None:
        OUT.mkdir(exist_ok=True)
        page.screenshot(path=OUT / f"failed-{item.name}.png")


def front_end_name(root: str) -> str:
    return Path(root).resolve().parents[1].name if root else "installed"


@pytest.fixture(scope="session", params=FRONT_ENDS, ids=front_end_name)
def comfy(request, tmp_path_factory):
    """A ComfyUI that serves one of the front ends; one runs at a time."""
    extra = ("--front-end-root", request.param) if request.param else ()
    server = Comfy.start(tmp_path_factory.mktemp("comfyui"), extra)
    server.post("/settings", SETTINGS)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def browser():
    from playwright.sync_api import sync_playwright

    program = chromium()
    assert program, "no Chromium found: install it, or name it in CHROMIUM"
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def page(comfy, browser):
    """The front end; what its console called errors is in `page.problems`, what it has fetched in
    `page.fetched`."""
    # An earlier test's prompt must not run into this one.
    if not comfy.idle():
        comfy.interrupt()
        wait_for(comfy.idle, 60, "an idle queue")
    context = browser.new_context(viewport={"width": 1500, "height": 1000})
    context.set_default_timeout(PAGE_TIMEOUT_MS)
    page = context.new_page()
    page.problems, page.fetched = [], []
    page.on("response", lambda reply: page.fetched.append(reply.url) if reply.ok else None)
    page.on("pageerror", lambda error: page.problems.append(str(error.stack or error)))
    page.on("console", lambda message: _note(page.problems, message))
    page.goto(comfy.url)
    wait_for_app(page)
    yield page
    context.close()


def _note(problems: list, message):
    if message.type == "error":
        problems.append(f"{message.text} @ {message.location.get('url', '')}")


def wait_for_app(page):
    page.wait_for_function(
        "() => window.app?.graph && window.app.extensionManager?.setting"
        " && window.LiteGraph?.registered_node_types?.PersonalizeZO"
        " && !document.querySelector('.p-blockui-mask, #splash-loader')"
    )


@pytest.fixture(scope="session")
def out() -> Path:
    """Where screenshots go."""
    OUT.mkdir(exist_ok=True)
    return OUT
