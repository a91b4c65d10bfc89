"""A real ComfyUI for these tests: one that serves most of them, and a way to start others."""

import shutil
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "tools"), str(HERE)]

from comfy import HOW_TO_RUN, PACKAGE, Comfy, comfyui_dir, wait_for  # noqa: E402

TEST_NODES = "zoodip_test_nodes"
WHITELIST = ("--whitelist-custom-nodes", PACKAGE, TEST_NODES)


def pytest_collection_modifyitems(items):
    if comfyui_dir() is not None:
        return
    for item in items:
        if HERE in item.path.parents and {
            "comfy",
            "shared_comfy",
            "starts",
            "inside",
            "serving",
        } & set(item.fixturenames):
            item.add_marker(pytest.mark.skip(reason=HOW_TO_RUN))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """Shows the server's log for a test that failed."""
    outcome = yield
    report = outcome.get_result()
    server = item.funcargs.get("comfy")
    if report.failed and server is not None:
        report.sections.append(("ComfyUI's log", server.log_tail()))


def start(base: Path, **options) -> Comfy:
    """A ComfyUI in the folder `base`, with the nodes that these tests need beside the package."""
    nodes = base / "custom_nodes" / TEST_NODES
    nodes.parent.mkdir(parents=True, exist_ok=True)
    if not nodes.exists():
        shutil.copytree(HERE / TEST_NODES, nodes)
    # One thread: the models are too small for more, and other work may share the machine.
    options["env"] = {"OMP_NUM_THREADS": "1", **options.get("env", {})}
    return Comfy.start(base, WHITELIST, **options)


@pytest.fixture(scope="session")
def shared_comfy(tmp_path_factory):
    server = start(tmp_path_factory.mktemp("comfyui"))
    yield server
    server.stop()


@pytest.fixture
def comfy(shared_comfy):
    """The ComfyUI that most tests share, idle."""
    quiet(shared_comfy)
    return shared_comfy


def quiet(server: Comfy):
    """An earlier test's prompt must not run into the next one."""
    if not server.idle():
        server.post("/queue", {"clear": True})
        server.interrupt()
        wait_for(server.idle, 60, "an idle queue")


@pytest.fixture
def starts():
    """Starts ComfyUIs that end with the test, one after the other or together."""
    started = []

    def again(base: Path, **options) -> Comfy:
        started.append(start(base, **options))
        return started[-1]

    yield again
    for server in started:
        server.stop()
