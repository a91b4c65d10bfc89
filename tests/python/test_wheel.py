"""What a wheel holds: CMake's rules of installation, and the package that finds what they bring.

pip's own way through it, with a training, is `python tests/tools/wheel.py`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from setup.build import tree_of
from setup.system import find_cmake
from zoodip import __version__
from zoodip._environment import describe


@pytest.fixture(scope="module")
def site(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages of an environment into which the wheel was installed."""
    tree = tree_of(describe(), root, development=True)
    if not (tree / "CMakeCache.txt").is_file():
        pytest.skip(f"{tree} is not there; `python install.py test` makes it")
    site = tmp_path_factory.mktemp("site packages")
    command = [find_cmake(sys.executable), "--install", tree, "--component", "wheel"]
    done = subprocess.run([*command, "--prefix", site], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    package = root / "native" / "python" / "zoodip"
    shutil.copytree(package, site / "zoodip", ignore=shutil.ignore_patterns("__pycache__"))
    return site


def call(site: Path, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs code that sees the wheel's packages before any other, and no checkout."""
    return subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys; sys.path.insert(0, {str(site)!r}); {code}",
            *arguments,
        ],
        capture_output=True,
        text=True,
        cwd=site.parent,
    )


def test_it_holds_what_is_loaded_and_nothing_else(site: Path) -> None:
    folder = site / "zoodip_modules" / describe().tag
    assert [path.name for path in site.iterdir() if path.name != "zoodip"] == ["zoodip_modules"]
    names = sorted(path.name.split(".")[0] for path in folder.iterdir())
    assert names == ["_native", "stamp", "zoodip", "zoodip-main"]
    assert os.access(folder / "zoodip", os.X_OK)


def test_the_package_loads_its_module(site: Path) -> None:
    done = call(site, "import zoodip; print(zoodip.__file__, zoodip._native.__file__)")
    assert done.returncode == 0, done.stderr
    package, module = done.stdout.rsplit(str(site), 1)
    assert package.startswith(str(site / "zoodip")) and module.startswith("/zoodip_modules/")


def test_the_command_becomes_the_program(site: Path) -> None:
    done = call(site, "from zoodip._program import main; sys.exit(main())", "--version")
    assert (done.returncode, done.stdout.strip()) == (0, __version__), done.stderr


def test_the_command_says_what_does_not_fit(site: Path) -> None:
    stamp = site / "zoodip_modules" / describe().tag / "stamp.json"
    text = stamp.read_text()
    try:
        stamp.write_text(json.dumps(json.loads(text) | {"torch": "1.0"}))
        done = call(site, "from zoodip._program import main; sys.exit(main())", "--version")
    finally:
        stamp.write_text(text)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("zoodip: zoodip's native module was built for torch 1.0, but")


def test_the_torch_beside_a_wheel_is_the_one_that_counts(site: Path) -> None:
    """A wheel may have been built in another environment, whose torch is gone or another."""
    torch = site / "torch"
    torch.mkdir()
    (torch / "version.py").write_text("__version__ = '1.0'\n")
    try:
        program = site / "zoodip_modules" / describe().tag / "zoodip"
        done = subprocess.run([program, "--version"], capture_output=True, text=True)
    finally:
        shutil.rmtree(torch)
    assert done.returncode == 1
    assert f"{torch} is now 1.0" in done.stderr, done.stderr
