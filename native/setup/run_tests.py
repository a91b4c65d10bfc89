"""Runs the native and the Python tests and keeps both runners' closing lines."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

from zoodip._environment import Environment

from .process import Failure, capture, run_logged, say
from .selection import native_choice
from .system import find_cmake

NO_TESTS_COLLECTED = 5  # pytest's code for it

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


def _ctest(environment: Environment) -> str:
    cmake = find_cmake(environment.python_executable)
    return shutil.which("ctest", path=str(Path(str(cmake)).parent)) or "ctest"


def native_tests(tree: Path, environment: Environment) -> dict[str, int]:
    """Names of the native tests and the numbers that ctest gives them."""
    listing = capture([_ctest(environment), "--test-dir", str(tree), "-C", "Release", "-N"])
    return {name: int(number) for number, name in re.findall(r"Test +#(\d+): (\S+)", listing)}


def run_ctest(tree: Path, environment: Environment, chosen: list[int]) -> tuple[bool, str]:
    """Whether these native tests passed, all of them where none is given; ctest's closing line."""
    log = tree.with_name(tree.name + ".ctest.log")
    command = [_ctest(environment), "--test-dir", str(tree), "-C", "Release", "--parallel", "2"]
    command += ["--output-on-failure", "--no-tests=error"]
    command += ["-I", ",".join(map(str, [0, 0, 0, *chosen]))] if chosen else []
    passed = run_logged(command, log, _show_unless_passed) == 0
    return passed, closing_line(log, r"tests passed|No tests were found")


def run_pytest(tree: Path, environment: Environment, arguments: list[str]) -> tuple[int, str]:
    """pytest's exit code and its closing line."""
    log = tree.with_name(tree.name + ".pytest.log")
    command = [environment.python_executable, "-m", "pytest"]
    command += ["--color=yes"] if sys.stdout.isatty() else []
    code = run_logged([*command, *arguments], log, say)
    return code, closing_line(log, r" in [\d.]+s\b|^ERROR")


def run_tests(
    tree: Path, environment: Environment, pytest_arguments: list[str], root: Path
) -> None:
    """Runs all that the arguments choose, whatever fails first; Failure unless all of it passed."""
    try:
        choice = native_choice(pytest_arguments, root)
    except ValueError as error:
        raise Failure(str(error)) from error
    tests = native_tests(tree, environment)
    chosen = [number for name, number in tests.items() if choice and choice(name)]
    native_passed, native = True, "none chosen"
    if chosen or not tests:
        say("Running the native tests")
        everything = len(chosen) == len(tests)
        native_passed, native = run_ctest(tree, environment, [] if everything else chosen)
    say("Running the Python tests")
    code, python = run_pytest(tree, environment, pytest_arguments)
    say(f"\nnative: {native}\npython: {python}")
    python_passed = code == 0 or (code == NO_TESTS_COLLECTED and bool(chosen))
    if not (native_passed and python_passed):
        raise Failure(f"tests failed: see above, or {tree}.ctest.log and {tree}.pytest.log")
