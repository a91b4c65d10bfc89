"""Runs the native and the Python tests and keeps both runners' closing lines."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

from zoodip._environment import Environment

from .process import Failure, run_logged, say
from .system import find_cmake

# What ctest says about a test that went well.
_QUIET = re.compile(
    r" *Start +\d+:|.*\.+ +Passed +[\d.]+ sec$|Internal ctest changing|Test project"
)


def _show_unless_passed(line: str) -> None:
    if line.strip() and not _QUIET.match(line):
        say(line)


def closing_line(log: Path, pattern: str) -> str:
    """The last line of a log that matches, without colours and rulers."""
    text = re.sub(r"\x1b\[[\d;]*m", "", log.read_text(encoding="utf-8", errors="replace"))
    found = [line for line in text.splitlines() if re.search(pattern, line)]
    return found[-1].strip("= ") if found else "ended without a result"


def run_ctest(tree: Path, environment: Environment) -> tuple[bool, str]:
    """Whether the native tests passed, and ctest's closing line."""
    cmake = find_cmake(environment.python_executable)
    ctest = shutil.which("ctest", path=str(Path(str(cmake)).parent)) or "ctest"
    log = tree.with_name(tree.name + ".ctest.log")
    command = [ctest, "--test-dir", str(tree), "-C", "Release", "--parallel", "2"]
    command += ["--output-on-failure", "--no-tests=error"]
    passed = run_logged(command, log, _show_unless_passed) == 0
    return passed, closing_line(log, r"tests passed|No tests were found")


def run_pytest(tree: Path, environment: Environment, arguments: list[str]) -> tuple[bool, str]:
    """Whether the Python tests passed, and pytest's closing line."""
    log = tree.with_name(tree.name + ".pytest.log")
    command = [environment.python_executable, "-m", "pytest"]
    command += ["--color=yes"] if sys.stdout.isatty() else []
    passed = run_logged([*command, *arguments], log, say) == 0
    return passed, closing_line(log, r" in [\d.]+s\b|^ERROR")


def run_tests(tree: Path, environment: Environment, pytest_arguments: list[str]) -> None:
    """Runs everything, whatever fails first; Failure unless all of it passed."""
    say("Running the native tests")
    native_passed, native = run_ctest(tree, environment)
    say("Running the Python tests")
    python_passed, python = run_pytest(tree, environment, pytest_arguments)
    say(f"\nnative: {native}\npython: {python}")
    if not (native_passed and python_passed):
        raise Failure(f"tests failed: see above, or {tree}.ctest.log and {tree}.pytest.log")
