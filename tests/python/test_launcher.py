"""The `zoodip` launcher: becomes the program, or says what changed under it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

PROGRAM = '#!/bin/sh\nfor word in "$@"; do echo "[$word]"; done\necho "$ZOODIP_PROBE"\nexit 7\n'


class Build:
    """A checkout with a module folder in which everything but the launcher is made up."""

    def __init__(self, folder: Path, launcher: Path) -> None:
        self.checkout = folder / "checkout"
        self.modules = self.checkout / "modules" / "tag"
        self.torch = folder / "torch"
        self.program = self.modules / "zoodip-main"
        self.modules.mkdir(parents=True)
        self.torch.mkdir()
        (self.checkout / "install.py").touch()
        shutil.copy(launcher, self.modules / "zoodip")
        self.program.write_text(PROGRAM)
        self.program.chmod(0o755)
        self.set_torch("2.11.0+cu130")
        self.python = folder / "python"
        self.python.touch()
        stamp = {"torch": "2.11.0+cu130", "torch_dir": str(self.torch)}
        stamp["python_executable"] = str(self.python)
        (self.modules / "stamp.json").write_text(json.dumps(stamp))

    def set_torch(self, version: str) -> None:
        text = f"__all__ = ['__version__']\n__version__ = '{version}'\ndebug = False\n"
        (self.torch / "version.py").write_text(text)

    def run(self, *arguments: str, program: Path | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [program or self.modules / "zoodip", *arguments],
            capture_output=True,
            text=True,
            env={"ZOODIP_PROBE": "kept"},
        )

    @property
    def command(self) -> str:
        return f"{self.python} {self.checkout / 'install.py'}"


@pytest.fixture
def made(tmp_path: Path, module_folder: Path) -> Build:
    launcher = module_folder / "zoodip"
    if not launcher.is_file():
        pytest.skip(f"{launcher} is not there: this system's launcher has another name")
    return Build(tmp_path, launcher)


def test_arguments_environment_and_exit_code_pass_through(made: Build) -> None:
    done = made.run("train", "two words", "", "--x=ü")
    assert done.returncode == 7
    assert done.stdout == "[train]\n[two words]\n[]\n[--x=ü]\nkept\n"
    assert done.stderr == ""


def test_a_link_to_the_launcher_works(made: Build, tmp_path: Path) -> None:
    link = tmp_path / "zoodip"
    link.symlink_to(made.modules / "zoodip")
    assert made.run("a", program=link).stdout == "[a]\nkept\n"


def assert_one_sentence(done: subprocess.CompletedProcess[str], sentence: str) -> None:
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == f"zoodip: {sentence}\n"


def test_a_changed_torch_is_named(made: Build) -> None:
    made.set_torch("2.15.0+cu132")
    assert_one_sentence(
        made.run("train"),
        f"built for torch 2.11.0+cu130, but {made.torch} is now 2.15.0+cu132; run: {made.command}",
    )


def test_a_torch_that_is_gone_is_named(made: Build) -> None:
    shutil.rmtree(made.torch)
    made.python.unlink()
    assert_one_sentence(
        made.run(),
        f"built for torch 2.11.0+cu130, but {made.torch} is gone; "
        f"run: python3 {made.checkout / 'install.py'}",
    )


@pytest.mark.parametrize("text", [None, "", "[]", '{"torch": 1}', '{"torch": "2.11.0"'])
def test_a_missing_or_damaged_stamp_is_named(made: Build, text: str | None) -> None:
    stamp = made.modules / "stamp.json"
    stamp.unlink()
    if text is not None:
        stamp.write_text(text)
    assert_one_sentence(
        made.run(),
        f"{stamp} is missing or damaged; run: python3 {made.checkout / 'install.py'}",
    )


def test_a_missing_program_is_named(made: Build) -> None:
    made.program.unlink()
    assert_one_sentence(
        made.run(),
        f"cannot start {made.program} (No such file or directory); run: {made.command}",
    )


def test_a_checkout_that_is_gone_is_said(made: Build) -> None:
    (made.checkout / "install.py").unlink()
    made.program.unlink()
    assert_one_sentence(
        made.run(),
        f"cannot start {made.program} (No such file or directory); "
        f"run: {made.python} install.py in a checkout of ComfyUI-ZOODiP",
    )
