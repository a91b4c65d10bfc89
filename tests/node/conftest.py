"""Makes the checkout importable as the package that ComfyUI would load, under a fixed name."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "comfyui_zoodip"


def _load_package() -> None:
    """ComfyUI does the same, with the folder's path as the name."""
    spec = importlib.util.spec_from_file_location(
        PACKAGE, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[PACKAGE] = module
    spec.loader.exec_module(module)


if PACKAGE not in sys.modules:
    _load_package()
# For the helpers beside the tests and those that all tests share.
sys.path += [str(Path(__file__).parent), str(ROOT / "tests" / "tools")]


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> Path:
    """A model that trains in a second; skips where no engine is built."""
    from comfyui_zoodip.node.native import engine_problem

    problem = engine_problem()
    if problem is not None:
        pytest.skip(problem)
    from make_checkpoint import write_checkpoint

    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    write_checkpoint(path, "tiny-taesd", seed=3)
    return path


@pytest.fixture
def wanted(checkpoint):
    """A training of it."""
    from trainings import a_training

    return a_training(checkpoint)


@pytest.fixture
def make_house(checkpoint, tmp_path):
    """Jobs of a ComfyUI in a folder; all are ended at the test's end."""
    from trainings import House

    made = []

    def make(name="zoodip", environment=None):
        made.append(House(tmp_path / name, environment))
        return made[-1]

    yield make
    for house in made:
        house.ends()


@pytest.fixture
def house(make_house):
    return make_house()
