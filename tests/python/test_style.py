"""Layout, lint, and what must not be in a source file."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

CODE = {".py", ".cpp", ".h", ".cu", ".cuh", ".js"}
TEXT = CODE | {".md", ".txt", ".cmake", ".toml", ".json", ".yml", ""}
DATA = ("native/nn/data/", "tests/fuzz/corpus/")  # data, kept as it is
MACHINE_PATH = re.compile(r"(?<![\w.])(/(?:home|root|Users|work)/|[A-Z]:\\\\?Users\\)\w")
LEFTOVER = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")


def tool(name: str) -> str:
    """A program of this environment; the test is skipped where it is not installed."""
    path = shutil.which(name, path=sysconfig.get_path("scripts")) or shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed; `python install.py test` installs it")
    return path


def check(command: list[str], root: Path) -> None:
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.fail(f"{' '.join(command[:3])} ...\n{done.stdout}{done.stderr}", pytrace=False)


@pytest.fixture(scope="module")
def files(root: Path) -> list[Path]:
    """The files of this project: what git would keep, or what lies in its folders."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    if (root / ".git").exists() and shutil.which("git"):
        names = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
        found = [root / name for name in names.stdout.splitlines()]
    else:
        found = [p for top in ("native", "tests") for p in (root / top).rglob("*")]
        found += [path for path in root.iterdir() if path.is_file()]
    mine = [p for p in found if not p.relative_to(root).as_posix().startswith(DATA)]
    return [path for path in mine if path.is_file() and "__pycache__" not in path.parts]


def test_clang_format(root: Path, files: list[Path]) -> None:
    program = tool("clang-format")
    version = subprocess.run([program, "--version"], capture_output=True, text=True).stdout
    if " 14." not in version:
        pytest.skip(f"layout is decided by clang-format 14; this is {version.strip()}")
    sources = [str(path) for path in files if path.suffix in {".cpp", ".h", ".cu", ".cuh"}]
    assert sources
    check([program, "--dry-run", "-Werror", *sources], root)


def test_the_types_that_the_package_declares_hold(root: Path) -> None:
    """The package says by `py.typed` that its types can be relied on."""
    command = [tool("mypy"), "--strict", "--cache-dir", os.devnull, "-p", "zoodip"]
    check(command, root / "native" / "python")


@pytest.mark.parametrize("arguments", [["check"], ["format", "--check"]])
def test_ruff(root: Path, files: list[Path], arguments: list[str]) -> None:
    sources = [str(path) for path in files if path.suffix == ".py"]
    assert sources
    check([tool("ruff"), *arguments, "--no-cache", *sources], root)


def found_in(files: list[Path], pattern: re.Pattern[str], suffixes: set[str]) -> list[str]:
    return [
        f"{path}:{number}: {line.strip()}"
        for path in files
        if path.suffix in suffixes
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if pattern.search(line)
    ]


def test_no_file_names_a_machine_or_a_leftover(files: list[Path]) -> None:
    assert found_in(files, MACHINE_PATH, TEXT) == []
    assert found_in(files, LEFTOVER, CODE) == []


def test_machine_paths_and_leftovers_are_seen(tmp_path: Path) -> None:
    source = tmp_path / "a.py"
    user = "/ho" + "me/anna/models"
    source.write_text(f"path = '{user}'\n# TO" + "DO later\nurl = 'https://a.b/home/c'\n")
    assert len(found_in([source], MACHINE_PATH, CODE)) == 1
    assert len(found_in([source], LEFTOVER, CODE)) == 1


def test_the_version_is_the_same_everywhere(root: Path) -> None:
    import zoodip

    patterns = {
        "pyproject.toml": r'^version = "([^"]+)"',
        "CMakeLists.txt": r"^project\(zoodip VERSION (\S+)",
    }
    for name, pattern in patterns.items():
        found = re.search(pattern, (root / name).read_text(encoding="utf-8"), re.MULTILINE)
        assert found and found[1] == zoodip.__version__, name
