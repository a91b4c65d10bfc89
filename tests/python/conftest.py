"""Makes the package of this checkout importable, and finds what was built for this Python."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Last, so that a zoodip that was installed on purpose is the one under test.
sys.path += [str(ROOT / name) for name in ("native/python", "native", "tests/tools", ".")]


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session", autouse=True)
def engine_by_parts() -> None:
    """Stops where the module is one for users, which gives no access to the engine's parts."""
    import zoodip

    try:
        native = zoodip.load_native()
    except zoodip.NativeModuleError:
        return  # said by each test that needs it
    if not hasattr(native, "UNet"):
        pytest.exit(
            "the module was built without what tests look into; `python install.py test`", 2
        )


@pytest.fixture(scope="session")
def module_folder() -> Path:
    """The folder with the native module, the programs and their stamp."""
    from zoodip import _native

    return Path(_native.__file__).parent


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> Path:
    """A tiny checkpoint of random weights."""
    from material import write_tiny_model

    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny.safetensors")


@pytest.fixture(scope="session")
def images(tmp_path_factory) -> Path:
    """Three pictures of noise, one with a caption."""
    from material import write_noise

    return write_noise(tmp_path_factory.mktemp("images"))


@pytest.fixture
def run(module_folder):
    """Runs the program with these words."""

    def call(words: list[str], **options) -> subprocess.CompletedProcess:
        return subprocess.run(
            [module_folder / "zoodip", *words], capture_output=True, text=True, **options
        )

    return call
