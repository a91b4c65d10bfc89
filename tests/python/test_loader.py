"""Which built module is chosen, and what is said when none fits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from zoodip import NativeModuleError, _loader
from zoodip._environment import Environment

VERSION = "0.1.0"
HERE = Environment(
    python="3.11",
    python_executable="python",
    python_include="",
    site_packages="",
    torch="2.11.0+cu130",
    cuda="13.0",
    torch_dir="torch",
)
FITTING = {"python": "3.11", "torch": "2.11.0+cu130", "cuda": "13.0", "zoodip": VERSION}


def stamp(root: Path, name: str, **changes: str) -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "stamp.json").write_text(json.dumps({**FITTING, **changes}))
    return folder


def message(roots: list[Path], environment: Environment = HERE) -> str:
    with pytest.raises(NativeModuleError) as error:
        _loader.find_module(roots, environment, VERSION)
    assert "\n" not in str(error.value)
    assert str(error.value).endswith(f"run: {_loader.build_command()}")
    return str(error.value)


def test_the_fitting_one_of_several_is_chosen(tmp_path: Path) -> None:
    stamp(tmp_path / "a", "old", torch="2.10.0", cuda="none")
    fitting = stamp(tmp_path / "b", "new")
    stamp(tmp_path / "b", "other", python="3.12")
    roots = [tmp_path / "missing", tmp_path / "a", tmp_path / "b"]
    assert _loader.find_module(roots, HERE, VERSION) == fitting


def test_the_first_root_goes_first(tmp_path: Path) -> None:
    second, first = stamp(tmp_path / "b", "tag"), stamp(tmp_path / "a", "tag")
    assert _loader.find_module([first.parent, second.parent], HERE, VERSION) == first


def test_nothing_built_is_said(tmp_path: Path) -> None:
    assert "has not been built yet" in message([tmp_path])


def test_no_torch_is_said(tmp_path: Path) -> None:
    stamp(tmp_path, "tag")
    assert "has none" in message([tmp_path], replace(HERE, torch="", torch_dir=""))


@pytest.mark.parametrize(
    ("key", "other", "said"),
    [
        ("python", "3.12", "built for Python 3.12, but this is Python 3.11;"),
        ("torch", "2.15.0", "built for torch 2.15.0, but this is torch 2.11.0+cu130;"),
        ("cuda", "none", "built for CUDA none, but this is CUDA 13.0;"),
        ("zoodip", "0.0.9", "built for zoodip 0.0.9, but this is zoodip 0.1.0;"),
    ],
)
def test_the_versions_that_disagree_are_named(
    tmp_path: Path, key: str, other: str, said: str
) -> None:
    stamp(tmp_path, "tag", **{key: other})
    assert said in message([tmp_path])


def test_the_nearest_of_several_is_named(tmp_path: Path) -> None:
    stamp(tmp_path, "a", python="3.9", torch="2.0.0", cuda="11.8")
    stamp(tmp_path, "b", torch="2.10.0")
    stamp(tmp_path, "c", python="3.10", torch="2.10.0")
    assert "built for torch 2.10.0, but this is torch 2.11.0+cu130" in message([tmp_path])


@pytest.mark.parametrize("text", ["", "{", "[1]", "\xff"])
def test_damaged_stamps_are_passed_over(tmp_path: Path, text: str) -> None:
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "stamp.json").write_text(text, encoding="latin-1")
    assert "has not been built yet" in message([tmp_path])
    fitting = stamp(tmp_path, "good")
    assert _loader.find_module([tmp_path], HERE, VERSION) == fitting


def run(code: str, *paths: Path) -> subprocess.CompletedProcess[str]:
    """Runs code in a new Python whose modules/ is empty; `paths` are searched first."""
    package = Path(_loader.__file__).parents[1]
    prelude = (
        "from zoodip import _loader\nfrom pathlib import Path\n_loader.CHECKOUT = Path('nowhere')\n"
    )
    path = os.pathsep.join(map(str, [*paths, package]))
    return subprocess.run(
        [sys.executable, "-c", prelude + code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )


def test_importing_never_fails_and_loads_nothing(tmp_path: Path) -> None:
    code = """
import sys, zoodip
assert "torch" not in sys.modules and "zoodip._native" not in sys.modules
for use in ("from zoodip import _native", "zoodip.Error", "zoodip._native"):
    try:
        exec(use)
    except zoodip.NativeModuleError as error:
        print(error)
try:
    zoodip.nothing
except AttributeError as error:
    print(error)
"""
    done = run(code)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert len(lines) == 4 and all("has not been built yet" in line for line in lines[:3])
    assert lines[3] == "module 'zoodip' has no attribute 'nothing'"


def test_an_installed_wheel_is_searched(tmp_path: Path, module_folder: Path) -> None:
    (tmp_path / "zoodip_modules").mkdir()
    (tmp_path / "zoodip_modules" / "tag").symlink_to(module_folder, target_is_directory=True)
    done = run("from zoodip import _native; print(_native.__file__)", tmp_path)
    assert done.stdout.startswith(str(tmp_path / "zoodip_modules" / "tag")), done.stderr


def test_a_module_that_cannot_be_loaded_gives_one_sentence(
    tmp_path: Path, module_folder: Path
) -> None:
    folder = tmp_path / "zoodip_modules" / "tag"
    folder.mkdir(parents=True)
    (folder / "stamp.json").write_bytes((module_folder / "stamp.json").read_bytes())
    code = "import zoodip\ntry: zoodip.Error\nexcept zoodip.NativeModuleError as e: print(e)"
    assert "is missing from" in run(code, tmp_path).stdout
    suffix = next(iter(module_folder.glob("_native*"))).name
    (folder / suffix).write_bytes(b"\x7fELF but no more")
    assert "cannot be loaded" in run(code, tmp_path).stdout


def test_a_torch_loaded_before_must_be_the_one_on_disk(
    monkeypatch: pytest.MonkeyPatch, module_folder: Path
) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch, "__version__", "2.0.0")
    with pytest.raises(NativeModuleError, match="restart Python"):
        _loader._load(VERSION)


def test_the_native_module_is_loaded_once(module_folder: Path) -> None:
    import zoodip
    from zoodip import _native

    assert sys.modules["zoodip._native"] is _native is zoodip.load_native()
    assert issubclass(zoodip.Error, RuntimeError)
    assert _native.__version__ == zoodip.__version__
