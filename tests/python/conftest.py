"""Makes the package of this checkout importable, and finds what was built for this Python."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
# Last, so that a zoodip that was installed on purpose is the one under test.
sys.path += [str(ROOT / name) for name in ("native/python", "native", "tests/tools", ".")]


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def module_folder() -> Path:
    """The folder with the native module, the programs and their stamp."""
    from zoodip import _native

    return Path(_native.__file__).parent


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> Path:
    """A tiny checkpoint of random weights."""
    from make_checkpoint import write_checkpoint

    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    write_checkpoint(path, "tiny-taesd", seed=3)
    return path


@pytest.fixture(scope="session")
def images(tmp_path_factory) -> Path:
    """Three pictures of noise, one with a caption."""
    folder = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    for i, size in enumerate([(80, 64, 3), (64, 100, 3), (70, 70, 3)]):
        Image.fromarray(random.integers(0, 256, size, dtype=np.uint8)).save(folder / f"{i}.png")
    (folder / "1.txt").write_text("a photo of a {} in front of a wall\n")
    return folder


@pytest.fixture
def run(module_folder):
    """Runs the program with these words."""

    def call(words: list[str], **options) -> subprocess.CompletedProcess:
        return subprocess.run(
            [module_folder / "zoodip", *words], capture_output=True, text=True, **options
        )

    return call
