"""The engine's Python package, which lies in this folder's checkout and is loaded on first use."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

PACKAGE = Path(__file__).resolve().parents[1] / "native" / "python" / "zoodip"


def zoodip() -> ModuleType:
    """The package; importing it loads no native code.

    What it provides raises `NativeModuleError`, whose message says what to run, where the native
    module is missing or was built for another torch.
    """
    found = sys.modules.get("zoodip")
    if found is not None and Path(str(found.__file__)).parent == PACKAGE:
        return found
    spec = importlib.util.spec_from_file_location(
        "zoodip", PACKAGE / "__init__.py", submodule_search_locations=[str(PACKAGE)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"{PACKAGE} is missing: get the package anew")
    module = importlib.util.module_from_spec(spec)
    sys.modules["zoodip"] = module
    spec.loader.exec_module(module)
    return module


def part(name: str) -> ModuleType:
    """A module of the package."""
    zoodip()
    return importlib.import_module(f"zoodip.{name}")


def graph() -> ModuleType:
    return part("graph")


def engine_problem() -> str | None:
    """Why no training can run here, from the stamps beside what was built; None when it can.

    Loads nothing native.
    """
    loader, described = part("_loader"), part("_environment").describe()
    try:
        loader.find_module(loader.module_roots(), described, zoodip().__version__)
    except ImportError as error:
        return str(error)
    return None
