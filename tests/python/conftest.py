"""Makes the package of this checkout importable, and finds what was built for this Python."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Last, so that a zoodip that was installed on purpose is the one under test.
sys.path += [str(ROOT / name) for name in ("native/python", "native", "tests/tools")]


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def module_folder() -> Path:
    """The folder with the native module, the programs and their stamp."""
    from zoodip import _native

    return Path(_native.__file__).parent
