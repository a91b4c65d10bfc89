"""Servers for these tests: one that a file's tests share, and a way to start others."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE))

import zoodip  # noqa: E402
from server import FOLDER, QUICK, Material, Server, quiet  # noqa: E402
from wire import Wire  # noqa: E402


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """Shows the server's log for a test that failed."""
    outcome = yield
    report = outcome.get_result()
    server = item.funcargs.get("server")
    if report.failed and server is not None:
        report.sections.append(("the server's log", server.log_tail()))


@pytest.fixture(scope="session")
def material(tmp_path_factory) -> Material:
    return Material.write(tmp_path_factory.mktemp("material"))


@pytest.fixture(scope="module")
def shared_server(material, tmp_path_factory):
    server = Server(material, tmp_path_factory.mktemp("shared")).start()
    yield server
    server.close()


@pytest.fixture
def server(shared_server):
    """The server that a file's tests share, without jobs."""
    if not shared_server.alive:  # an earlier test has failed for it
        shared_server.start()
    yield shared_server
    if shared_server.alive:
        quiet(shared_server.client())


@pytest.fixture
def client(server):
    return server.client()


@pytest.fixture
def serve(material, tmp_path):
    """Starts servers that end with the test; `name` is the folder of one's jobs."""
    started = []

    def start(*words: str, name: str = "served", **environment: str) -> Server:
        server = Server(material, tmp_path / name, *words, **environment)
        started.append(server)
        return server.start()

    yield start
    for server in started:
        server.close()


@pytest.fixture
def wire(server):
    """Bytes to the server; afterwards it must be well, and must not have failed in any answer."""
    wire = Wire(server.port)
    yield wire
    assert server.alive, f"it has ended: {server.process.returncode}"
    assert Wire(server.port).ask("GET", "/v1/health").json["status"] == "ok"
    failures = [reply for reply in wire.replies if reply.status >= 500]
    assert {reply.status for reply in failures} <= {503, 505, 507}, failures
    crossing = [
        name for reply in wire.replies for name in reply.headers if "access-control" in name
    ]
    assert crossing == []


@pytest.fixture
def learn(material, tmp_path):
    """The token that the engine learns without a server."""

    def call(images: Path | None = None, word: str = "sks", **settings) -> bytes:
        out = tmp_path / "reference.safetensors"
        folder = images or material.images / FOLDER
        zoodip.train(
            material.model, folder, word, "dog", out, overwrite=True, **(settings or QUICK)
        )
        return out.read_bytes()

    return call
