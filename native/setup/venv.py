"""Virtual environments of the checkout and the packages in them."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import sys
from dataclasses import fields
from pathlib import Path

from zoodip._environment import Environment

from .process import Failure, advice, capture, run_logged, say, show_end
from .system import VENV, missing_message

ENVIRONMENT_SCRIPT = "native/python/zoodip/_environment.py"


def _pins(file: Path) -> list[str]:
    lines = file.read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def demo_requirements(root: Path) -> list[str]:
    """The pinned packages of the demo, torch first."""
    return _pins(root / "requirements-demo.txt")


def test_requirements(root: Path, torch: str | None = None) -> list[str]:
    """The pinned packages of the tests; `torch` replaces the pinned version of torch."""
    pins = demo_requirements(root) + _pins(root / "requirements-test.txt")
    if torch is None:
        return pins
    if not re.fullmatch(r"\d+(\.\d+)+([.+]?\w+)*", torch):
        raise Failure(f"--torch {torch}: give a version such as 2.15.0")
    return [f"torch=={torch}" if pin.startswith("torch==") else pin for pin in pins]


def python_of(venv: Path) -> Path:
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def create(venv: Path, log: Path) -> None:
    """Makes a virtual environment, unless one that works with pip is there."""
    python = str(python_of(venv))
    if capture([python, "-c", "import pip; print('yes')"]):
        return
    if importlib.util.find_spec("ensurepip") is None:
        raise Failure(missing_message([VENV]))
    say(f"Making {venv.name}")
    # An environment whose Python is gone is of no use to anyone; another one is only completed.
    clear = [] if capture([python, "--version"]) else ["--clear"]
    if run_logged([sys.executable, "-m", "venv", *clear, str(venv)], log) != 0:
        show_end(log)
        raise Failure(f"{venv.name} could not be made: {advice(log)}")


def describe_interpreter(python: Path, root: Path) -> Environment:
    """What `describe` says in another interpreter."""
    text = capture([str(python), str(root / ENVIRONMENT_SCRIPT)])
    if not text:
        raise Failure(f"{python} does not start; delete {python.parents[1]} and run this again")
    facts = json.loads(text)
    return Environment(**{field.name: facts[field.name] for field in fields(Environment)})


def _installed_list(venv: Path) -> Path:
    """Named after the Python: after an upgrade of it, an environment has no packages."""
    major, minor = sys.version_info[:2]
    return venv / f"zoodip-packages-{major}.{minor}.txt"


def has_packages(venv: Path, pins: list[str]) -> bool:
    """Whether an earlier run installed these."""
    record = _installed_list(venv)
    return record.is_file() and set(pins) <= set(record.read_text(encoding="utf-8").split())


def record_packages(venv: Path, pins: list[str]) -> None:
    """Notes what is installed, so that the next run need not ask pip."""
    _installed_list(venv).write_text("\n".join(pins) + "\n", encoding="utf-8")


def _show_large_download(line: str) -> None:
    match = re.search(r"Downloading (\S+).* \((\d+)\.\d MB\)", line)
    if match and int(match[2]) >= 50:
        say(f"  {match[1].split('/')[-1].split('-')[0]}: {match[2]} MB")


def install(venv: Path, pins: list[str], log: Path) -> None:
    """Brings the pinned packages into an environment. A torch of the pinned version stays as it
    is, whatever its build."""
    say(f"Installing {pins[0]}" + (f" and {len(pins) - 1} other packages" if pins[1:] else ""))
    command = [str(python_of(venv)), "-m", "pip", "install", "--progress-bar", "off", *pins]
    if run_logged(command, log, _show_large_download) != 0:
        show_end(log, 8)
        raise Failure(f"pip could not install the packages: {_pip_advice(log)}")


def _pip_advice(log: Path) -> str:
    text = log.read_text(encoding="utf-8", errors="replace")
    if "No matching distribution" in text or "onnection" in text:
        return (
            "check the network and pip's settings (`pip config list`), then run this again; "
            f"the whole output is in {log}"
        )
    return advice(log)


def link_package(environment: Environment, root: Path) -> None:
    """Lets `import zoodip` find the package in the checkout."""
    pth = Path(environment.site_packages) / "zoodip.pth"
    pth.parent.mkdir(parents=True, exist_ok=True)
    pth.write_text(f"{root / 'native' / 'python'}\n", encoding="utf-8")


def link_program(programs: Path, folder: Path) -> Path:
    """Puts `zoodip` among an environment's programs; returns where it is.

    programs: `bin`, on Windows `Scripts`.
    """
    programs.mkdir(parents=True, exist_ok=True)
    if os.name == "nt":  # links need a privilege there
        command = programs / "zoodip.cmd"
        command.write_text(f'@"{folder / "zoodip.exe"}" %*\n', encoding="utf-8")
        return command
    link = programs / "zoodip"
    fresh = link.with_name(f".zoodip-{os.getpid()}")
    fresh.symlink_to(folder / "zoodip")
    fresh.replace(link)
    return link
