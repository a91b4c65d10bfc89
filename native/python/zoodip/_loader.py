"""Finds and loads the native module that was built for this Python and this torch.

Every built module lies in a folder of its own with a stamp beside it. The stamps are read before
anything is loaded, so that a module made for another Python, torch or CUDA gives one sentence and
a command instead of a linker error.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import json
import logging
import shlex
import sys
import threading
from pathlib import Path
from types import ModuleType

from ._environment import Environment, describe

MODULE_NAME = "zoodip._native"
CHECKOUT = Path(__file__).resolve().parents[3]

_lock = threading.Lock()


class NativeModuleError(ImportError):
    """No native module fits this environment; the message says which versions disagree."""


def module_roots() -> list[Path]:
    """Folders searched for built modules: the checkout's own, then an installed wheel's."""
    roots = [CHECKOUT / "modules"]
    spec = importlib.util.find_spec("zoodip_modules")
    if spec is not None:
        roots += [Path(place) for place in spec.submodule_search_locations or []]
    return roots


def build_command() -> str:
    """The command that builds the module for this interpreter."""
    script = CHECKOUT / "install.py"
    if not script.is_file():
        return f"{shlex.quote(sys.executable)} install.py in a checkout of ComfyUI-ZOODiP"
    return f"{shlex.quote(sys.executable)} {shlex.quote(str(script))}"


def read_stamps(roots: list[Path]) -> list[tuple[Path, dict[str, str]]]:
    """Folder and stamp of everything built, in the order of the roots; unreadable ones left out."""
    stamps = []
    for path in (path for root in roots for path in sorted(root.glob("*/stamp.json"))):
        try:
            stamp = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(stamp, dict):
            stamps.append((path.parent, stamp))
    return stamps


def disagreements(stamp: dict[str, str], wanted: dict[str, str]) -> list[str]:
    """The keys in which a stamp differs from what this environment needs."""
    return [key for key, value in wanted.items() if stamp.get(key) != value]


def _describe_versions(versions: dict[str, str], keys: list[str]) -> str:
    names = {"python": "Python", "torch": "torch", "cuda": "CUDA", "zoodip": "zoodip"}
    return " and ".join(f"{names[key]} {versions.get(key, 'unknown')}" for key in keys)


def find_module(roots: list[Path], environment: Environment, version: str) -> Path:
    """The folder whose stamp fits `environment` and zoodip `version`; NativeModuleError if none."""
    run = f"run: {build_command()}"
    if not environment.torch:
        raise NativeModuleError(
            f"zoodip needs torch, and {sys.executable} has none; install torch, then {run}"
        )
    wanted = {
        "python": environment.python,
        "torch": environment.torch,
        "cuda": environment.cuda,
        "zoodip": version,
    }
    stamps = read_stamps(roots)
    if not stamps:
        raise NativeModuleError(f"zoodip's native module has not been built yet; {run}")
    folder, stamp = min(stamps, key=lambda entry: len(disagreements(entry[1], wanted)))
    different = disagreements(stamp, wanted)
    if different:
        raise NativeModuleError(
            f"zoodip's native module was built for {_describe_versions(stamp, different)}, "
            f"but this is {_describe_versions(wanted, different)}; {run}"
        )
    return folder


def _module_file(folder: Path) -> Path:
    for suffix in importlib.machinery.EXTENSION_SUFFIXES:
        file = folder / f"_native{suffix}"
        if file.is_file():
            return file
    raise NativeModuleError(
        f"zoodip's native module is missing from {folder}; run: {build_command()}"
    )


def _load(version: str) -> ModuleType:
    environment = describe()
    file = _module_file(find_module(module_roots(), environment, version))
    torch = importlib.import_module("torch")  # the module takes its symbols from torch's libraries
    if str(torch.__version__) != environment.torch:
        raise NativeModuleError(
            f"torch {torch.__version__} is loaded, but {environment.torch_dir} now holds torch "
            f"{environment.torch}; restart Python"
        )
    spec = importlib.util.spec_from_file_location(MODULE_NAME, file)
    if spec is None or spec.loader is None:
        raise NativeModuleError(f"{file} is not a Python extension module; run: {build_command()}")
    try:
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    except ImportError as error:
        raise NativeModuleError(
            f"zoodip's native module cannot be loaded ({error}); run: {build_command()}"
        ) from error
    return module


def _log(level: str, message: str) -> None:
    """What the engine warns of goes to the logger `zoodip`."""
    number = logging.WARNING if level == "warning" else logging.INFO
    logging.getLogger("zoodip").log(number, message)


def load_native() -> ModuleType:
    """The native module, loaded once and registered as `zoodip._native`."""
    from . import __version__

    with _lock:
        if MODULE_NAME not in sys.modules:
            module = _load(__version__)
            module.set_log_sink(_log)
            sys.modules[MODULE_NAME] = module
        return sys.modules[MODULE_NAME]
