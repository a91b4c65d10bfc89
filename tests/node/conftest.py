"""Makes the checkout importable as the package that ComfyUI would load, under a fixed name."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

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
