"""What the Comfy registry hands out is small, and whole without what is left out of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import archive
import pytest
import tomllib
from PIL import Image
from setup.system import find_cmake, find_compiler

from demo.model_file import FILES

pytestmark = pytest.mark.skipif(not archive.is_checkout(), reason="no git checkout to pack")


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return archive.unpack(tmp_path_factory.mktemp("archive") / "zoodip")


def said(*command: object, cwd: Path) -> subprocess.CompletedProcess:
    return subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True)


def test_tests_and_how_the_demo_was_made_stay_out() -> None:
    kept = archive.tracked() - archive.left_out()
    folders = {name.split("/")[0] for name in kept if "/" in name}
    assert folders == {"demo", "locales", "native", "node", "web", "workflows"}
    assert not [name for name in kept if "train" in name and name.startswith("demo/")]
    size = sum((archive.REPOSITORY / name).stat().st_size for name in kept)
    models = sum(file.packed.stat().st_size for file in FILES.values())
    assert size - models < 5 << 20, "the rest is larger than 5 MB: what is it?"


def test_install_says_what_it_can_do_and_that_the_tests_are_not_there(unpacked: Path) -> None:
    helped = said(sys.executable, "install.py", "--help", cwd=unpacked)
    assert helped.returncode == 0, helped.stderr
    tests = said(sys.executable, "install.py", "test", cwd=unpacked)
    assert tests.returncode == 1
    assert len(tests.stderr.splitlines()) == 1
    assert "tests" in tests.stderr and "git clone" in tests.stderr
    assert not (unpacked / ".venv").exists() and not (unpacked / "build").exists()


def test_the_demo_has_all_it_imports_and_its_pictures(unpacked: Path) -> None:
    done = said(sys.executable, "-m", "demo.show", "--help", cwd=unpacked)
    assert done.returncode == 0, done.stderr
    script = (
        "from pathlib import Path; from demo import model_file, subjects\n"
        "assert Path(subjects.__file__).resolve().is_relative_to(Path.cwd())\n"
        "assert model_file.unpack().is_file()\n"
        "from demo.classifier import load_classifier; load_classifier()\n"
        "for subject in subjects.all_subjects(): print(subject.name)\n"
    )
    done = said(sys.executable, "-c", script, cwd=unpacked)
    assert done.returncode == 0, done.stderr
    folders = sorted(path.name for path in (unpacked / "demo" / "subjects").iterdir())
    assert sorted(done.stdout.split()) == folders


def test_what_is_compiled_is_all_there(unpacked: Path, tmp_path: Path) -> None:
    # Without torch it configures in seconds; the lists of sources are in the same files.
    cmake = find_cmake(sys.executable)
    if cmake is None or find_compiler() is None:
        pytest.skip("there is no CMake 3.20 or no C++ compiler")
    done = said(cmake, "-S", unpacked, "-B", tmp_path, "-DZOODIP_TORCH=OFF", cwd=unpacked)
    assert done.returncode == 0, done.stderr
    sources = {name for name in archive.tracked() if name.startswith("native/")}
    assert not sources & archive.left_out()


def test_the_registry_is_told_of_an_icon_that_is_there() -> None:
    project = tomllib.loads((archive.REPOSITORY / "pyproject.toml").read_text())
    address = project["tool"]["comfy"]["Icon"]
    repository = project["project"]["urls"]["Repository"].replace("github", "raw.githubusercontent")
    root = f"{repository}/main/"
    assert address.startswith(root)
    with Image.open(archive.REPOSITORY / address.removeprefix(root)) as icon:
        # The registry's limits: 800 by 400 pixels.
        assert icon.width <= 800 and icon.height <= 400
