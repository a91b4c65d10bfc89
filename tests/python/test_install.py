"""install.py: what it says when something is missing, and that it does nothing twice."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import lzma
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from setup import build, run_tests, selection, system, venv
from setup.process import Failure
from zoodip._environment import Environment, describe, read_torch_version

from demo import model_file

ENVIRONMENT = Environment(
    python="3.11",
    python_executable=sys.executable,
    python_include="/nowhere/include",
    site_packages="/nowhere/site-packages",
    torch="2.11.0+cpu",
    cuda="none",
    torch_dir="/nowhere/torch",
)


@pytest.fixture
def install(root: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("install", root / "install.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def checkout(root: Path, tmp_path: Path) -> Path:
    """A copy of what install.py needs before it compiles anything."""
    copy = tmp_path / "check out"
    shutil.copytree(root / "native" / "setup", copy / "native" / "setup")
    shutil.copytree(root / "native" / "python" / "zoodip", copy / "native" / "python" / "zoodip")
    (copy / "demo").mkdir()
    for name in ("install.py", "requirements-demo.txt", "demo/__init__.py", "demo/model_file.py"):
        shutil.copy(root / name, copy / name)
    return copy


def run(python: Path | str, *arguments: object, **variables: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [str(python), *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, **variables},
    )


def fake_program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


# --- --link ------------------------------------------------------------------------------------


def test_a_python_is_told_of_the_package_and_the_program_when_asked(
    install: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """As `python install.py --link` does in the Python that runs ComfyUI; nothing without it."""
    host, built = tmp_path / "host", tmp_path / "modules"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(host)], check=True)
    built.mkdir()
    fake_program(built / "zoodip", 'echo "called $1"')
    environment = venv.describe_interpreter(venv.python_of(host), install.ROOT)
    monkeypatch.setattr(install, "describe", lambda: replace(environment, torch="2.11.0"))
    monkeypatch.setattr(install.system, "require_tools", lambda *_: None)
    monkeypatch.setattr(install, "build", lambda *_, **__: built)
    monkeypatch.setattr(install, "unpack_demo_model", lambda _model: None)
    scripts = venv.python_of(host).parent
    monkeypatch.setattr(install.sysconfig, "get_path", lambda name: str(scripts))

    before = sorted(host.rglob("*"))
    install.run([])
    said = capsys.readouterr().out
    assert str(built / "zoodip") in said and "install.py --link" in said
    assert sorted(host.rglob("*")) == before  # nobody asked

    install.run(["--link"])
    assert str(scripts / "zoodip") in capsys.readouterr().out
    assert run(scripts / "zoodip", "train").stdout == "called train\n"
    done = run(venv.python_of(host), "-c", "import zoodip; print(zoodip.__version__)")
    assert done.stdout == f"{install.__version__}\n", done.stderr
    install.run(["--link"])  # again, after an update


@pytest.mark.parametrize("words", [["--link", "--venv"], ["--link", "demo"], ["--link", "test"]])
def test_link_is_for_the_python_that_runs_it(install: ModuleType, words, capsys) -> None:
    with pytest.raises(SystemExit):
        install.run(words)
    assert "--link is for the Python that runs this" in capsys.readouterr().err


# --- what is missing is named -------------------------------------------------------------------


def test_a_python_without_torch_is_offered_a_venv(checkout: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    done = run(venv.python_of(bare), "-s", checkout / "install.py")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "has no torch" in done.stderr and "--venv" in done.stderr
    assert not (checkout / "build").exists()


@pytest.mark.parametrize(
    ("name", "macros", "good"),
    [
        ("g++", "#define __GNUC__ 10", False),
        ("g++", "#define __GNUC__ 11", True),
        ("clang++", "#define __GNUC__ 4\n#define __clang_major__ 14", False),
        ("clang++-16", "#define __GNUC__ 4\n#define __clang_major__ 16", True),
    ],
)
def test_a_compiler_must_be_new_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, macros: str, good: bool
) -> None:
    fake_program(tmp_path / name, f"echo '{macros}'")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert system.find_compiler() == (str(tmp_path / name) if good else None)


def test_missing_tools_are_named_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_program(tmp_path / "apt-get", "exit 1")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(system, "find_tool", lambda name, python: None)
    monkeypatch.setattr(system, "missing_libraries", lambda headers: [headers["png.h"]])
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(Failure) as failure:
        system.require_tools(sys.executable, str(tmp_path))
    assert "sudo apt-get install g++ cmake ninja-build python3-dev libpng-dev" in str(failure.value)


def test_unread_pictures_are_named_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_program(tmp_path / "apt-get", "exit 1")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(system, "missing_libraries", lambda headers: list(headers.values())[:2])
    told = system.unread_pictures()
    assert "HEIC and AVIF, GIF; to read them, sudo apt-get install libheif-dev libgif-dev" in told
    monkeypatch.setattr(system, "missing_libraries", lambda headers: [])
    assert system.unread_pictures() is None


def test_headers_of_debian_s_own_folders_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CMAKE_PREFIX_PATH", str(tmp_path))
    headers = {"nowhere/heif.h": system.PICTURE_LIBRARIES["libheif/heif.h"]}
    assert system.missing_libraries(headers)
    (tmp_path / "include" / "x86_64-linux-gnu" / "nowhere").mkdir(parents=True)
    (tmp_path / "include" / "x86_64-linux-gnu" / "nowhere" / "heif.h").touch()
    assert not system.missing_libraries(headers)


def test_packages_are_installed_only_as_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_program(tmp_path / "apt-get", "exit 1")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(system, "missing_tools", lambda *_: [system.COMPILER])
    monkeypatch.setattr(system, "missing_libraries", lambda headers: [])
    installed: list[list[system.Need]] = []
    monkeypatch.setattr(system, "install_packages", lambda needs, log: installed.append(needs))
    for user in (1000, 0):
        monkeypatch.setattr(os, "geteuid", lambda user=user: user)
        with pytest.raises(Failure, match="missing: a C"):  # the fake root gets no compiler either
            system.prepare_system(sys.executable, str(tmp_path), tmp_path / "log")
        assert len(installed) == (user == 0)
    assert installed == [[system.COMPILER]]


# --- packages of Python -------------------------------------------------------------------------


def test_failing_pip_ends_with_one_line(checkout: Path) -> None:
    done = run(
        sys.executable, checkout / "install.py", "--venv", PIP_NO_INDEX="1", PIP_FIND_LINKS=""
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "pip could not install" in done.stderr and "check the network" in done.stderr
    assert "No matching distribution" in (checkout / "build" / "pip.log").read_text()


def test_a_second_run_leaves_pip_alone(
    install: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("requirements-demo.txt", "requirements-test.txt"):
        shutil.copy(install.ROOT / name, tmp_path)
    monkeypatch.setattr(install, "ROOT", tmp_path)
    (tmp_path / ".venv").mkdir()
    (tmp_path / "tests").mkdir()
    calls: list[str] = []
    monkeypatch.setattr(install.system, "prepare_system", lambda *_: calls.append("system"))
    monkeypatch.setattr(install.venv, "create", lambda *_: calls.append("venv"))
    monkeypatch.setattr(install.venv, "install", lambda *_: calls.append("pip"))
    monkeypatch.setattr(install, "connect", lambda *_, **__: ENVIRONMENT)
    monkeypatch.setattr(
        install, "run_tests", lambda tree, environment, rest, root: calls.extend(rest)
    )
    install.run(["test", "-k", "name", "-x"])
    install.run(["test"])
    assert calls == ["system", "venv", "pip", "-k", "name", "-x", "system", "venv"]


def test_the_demo_takes_a_subject_and_steps(
    install: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[tuple[str, str | None, int | None]] = []
    monkeypatch.setattr(install, "demo", lambda *options: calls.append(options))
    install.run(["demo"])
    install.run(["demo", "--subject", "blue_spotted_dog", "--steps", "7"])
    install.run(["demo", "--model", "xl"])
    assert calls == [
        ("sd1", None, None),
        ("sd1", "blue_spotted_dog", 7),
        ("xl", None, None),
    ]
    for wrong in (["--subject", "cow"], ["--steps", "0"], ["--stepz", "3"]):
        with pytest.raises(SystemExit):  # before anything is downloaded
            install.run(["demo", *wrong])
        assert wrong[1] in capsys.readouterr().err


def test_a_demo_after_the_tests_needs_no_pip(
    install: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("requirements-demo.txt", "requirements-test.txt"):
        shutil.copy(install.ROOT / name, tmp_path)
    venv.record_packages(tmp_path, venv.test_requirements(tmp_path))
    assert venv.has_packages(tmp_path, venv.demo_requirements(tmp_path))
    venv.record_packages(tmp_path, venv.demo_requirements(tmp_path))
    assert venv.has_packages(tmp_path, venv.demo_requirements(tmp_path))
    assert not venv.has_packages(tmp_path, venv.test_requirements(tmp_path))


def test_a_damaged_demo_model_is_named(
    install: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = tmp_path / "model"
    packed = tmp_path / "model.xz"
    packed.write_bytes(lzma.compress(b"weights " * 1000)[:-40])
    monkeypatch.setattr(model_file, "FILES", {model_file.FIRST: model_file.ModelFile(model)})
    with pytest.raises(Failure, match="git checkout"):
        install.unpack_demo_model()
    assert sorted(tmp_path.iterdir()) == [packed]
    install.finish(ENVIRONMENT, tmp_path / "zoodip")  # the build is good all the same
    assert "demo model could not be unpacked" in capsys.readouterr().out
    packed.write_bytes(lzma.compress(b"weights"))
    install.unpack_demo_model()
    assert model.read_bytes() == b"weights"


def test_packages_of_another_python_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    venv.record_packages(tmp_path, ["torch==2.11.0"])
    assert venv.has_packages(tmp_path, ["torch==2.11.0"])
    monkeypatch.setattr(sys, "version_info", (3, 99, 0, "final", 0))
    assert not venv.has_packages(tmp_path, ["torch==2.11.0"])


def test_another_torch_replaces_the_pin(root: Path) -> None:
    pins = venv.test_requirements(root)
    others = venv.test_requirements(root, "2.15.0")
    assert [pair for pair in zip(pins, others, strict=True) if pair[0] != pair[1]] == [
        ("torch==2.11.0", "torch==2.15.0")
    ]
    with pytest.raises(Failure, match="give a version"):
        venv.test_requirements(root, "newest; rm")


def test_a_venv_whose_python_is_gone_is_made_anew(tmp_path: Path) -> None:
    broken = tmp_path / ".venv"
    (broken / "bin").mkdir(parents=True)
    (broken / "bin" / "python").symlink_to(tmp_path / "gone")
    venv.create(broken, tmp_path / "venv.log")
    assert run(venv.python_of(broken), "-m", "pip", "--version").returncode == 0


def test_failures_and_interrupts_end_with_one_line(
    install: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for error, code in (
        (Failure("do this"), 1),
        (OSError(28, "No space left on device", "build/log"), 1),
        (KeyboardInterrupt(), 130),
    ):

        def stop(arguments: list[str], error: BaseException = error) -> None:
            raise error

        monkeypatch.setattr(install, "run", stop)
        monkeypatch.chdir(install.ROOT)
        assert install.main() == code
        assert len(capsys.readouterr().err.splitlines()) == 1


# --- building -----------------------------------------------------------------------------------


def test_the_tag_names_python_torch_and_cuda() -> None:
    assert ENVIRONMENT.tag == "cp311-torch2.11.0-cpu-cudanone"
    assert replace(ENVIRONMENT, torch="2.15.0+cu132", cuda="13.2").tag == (
        "cp311-torch2.15.0-cu132-cuda13.2"
    )


def test_torch_is_described_without_being_imported(tmp_path: Path) -> None:
    (tmp_path / "version.py").write_text(
        "from typing import Optional\n__all__ = ['cuda']\n__version__ = '2.15.0+cu132'\n"
        "cuda: Optional[str] = '13.2'\nhip: Optional[str] = None\n"
    )
    assert read_torch_version(tmp_path) == ("2.15.0+cu132", "13.2")
    (tmp_path / "version.py").write_text("__version__ = '2.11.0+cpu'\ncuda = None\n")
    assert read_torch_version(tmp_path) == ("2.11.0+cpu", "none")
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); from zoodip._environment import describe;"
        "print(describe().torch, 'torch' in sys.modules)"
    )
    done = run(sys.executable, "-c", script, Path(venv.__file__).parents[1] / "python")
    assert done.stdout.split() == [describe().torch, "False"]


def tiny_project(folder: Path, source: str) -> Path:
    (folder / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.20)\nproject(tiny CXX)\nadd_library(tiny tiny.cpp)\n"
        "set_target_properties(tiny PROPERTIES ARCHIVE_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/module)"
    )
    (folder / "tiny.cpp").write_text(source)
    return folder


def test_a_second_build_does_nothing(tmp_path: Path) -> None:
    project = tiny_project(tmp_path, "int answer() { return 42; }\n")
    folder = build.build(ENVIRONMENT, project, development=False)
    assert folder == tmp_path / "modules" / ENVIRONMENT.tag
    first = (folder / "libtiny.a").stat()
    assert build.build(ENVIRONMENT, project, development=False) == folder
    log = tmp_path / "build" / f"{ENVIRONMENT.tag}.compile.log"
    assert "Building CXX" not in log.read_text()
    second = (folder / "libtiny.a").stat()
    assert (second.st_ino, second.st_mtime_ns) == (first.st_ino, first.st_mtime_ns)


def test_a_compile_error_names_the_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Failure) as failure:
        build.build(ENVIRONMENT, tiny_project(tmp_path, "int broken(;\n"), development=False)
    log = tmp_path / "build" / f"{ENVIRONMENT.tag}.compile.log"
    assert str(failure.value).startswith("compiling failed") and str(log) in str(failure.value)
    assert "tiny.cpp:1" in capsys.readouterr().out
    assert not (tmp_path / "modules").exists()


def test_a_tree_of_another_generator_is_made_anew(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for ninja, there in (("/usr/bin/ninja", True), (None, False)):
        tree.mkdir(exist_ok=True)
        (tree / "CMakeCache.txt").write_text("CMAKE_GENERATOR:INTERNAL=Ninja\n")
        build.generator_options(tree, ninja)
        assert tree.exists() == there


def test_what_is_published_replaces_what_differs(tmp_path: Path) -> None:
    made, folder = tmp_path / "made", tmp_path / "folder"
    made.mkdir()
    (made / "zoodip").write_text("first")
    build.publish(made, folder)
    (made / "zoodip").write_text("second")
    (made / "stamp.json").write_text("{}")
    build.publish(made, folder)
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        "zoodip": "second",
        "stamp.json": "{}",
    }


@pytest.mark.parametrize(
    "arguments, chosen",
    [
        ([], {"Resize.KeepsEdges", "Adam.Steps", "Adam.KeepsItsState"}),
        (["-x", "-q"], {"Resize.KeepsEdges", "Adam.Steps", "Adam.KeepsItsState"}),
        (["-k", "adam"], {"Adam.Steps", "Adam.KeepsItsState"}),
        (["-kkeeps and not (resize or nothing)"], {"Adam.KeepsItsState"}),
        (["-k", "edges or STEPS", "-x"], {"Resize.KeepsEdges", "Adam.Steps"}),
        (["-k", "none_of_them"], set()),
        (["tests/python/test_install.py"], None),
        (["tests/python/test_install.py::test_closing_lines_are_found", "-x"], None),
        (["-m", "slow"], None),
    ],
)
def test_native_tests_are_chosen_as_pytest_chooses(
    root: Path, arguments: list[str], chosen: set[str] | None
) -> None:
    choice = selection.native_choice(arguments, root)
    names = ("Resize.KeepsEdges", "Adam.Steps", "Adam.KeepsItsState")
    assert (choice and {name for name in names if choice(name)}) == chosen


@pytest.mark.parametrize("expression", ["adam or", "(adam", "adam steps", "not"])
def test_what_is_no_expression_is_said(root: Path, expression: str) -> None:
    with pytest.raises(ValueError, match="-k .*: not words joined by"):
        selection.native_choice(["-k", expression], root)


@pytest.mark.parametrize(
    "expression, code, passes, ran",
    [("adam", 5, True, [2]), ("adam", 1, False, [2]), ("other", 5, False, None)],
)
def test_what_only_native_tests_match_passes(
    root: Path, monkeypatch: pytest.MonkeyPatch, expression: str, code: int, passes: bool, ran
) -> None:
    """pytest calls it an error that none of its own tests match."""
    calls: list[list[int]] = []
    tests = {"Resize.KeepsEdges": 1, "Adam.Steps": 2}
    monkeypatch.setattr(run_tests, "native_tests", lambda *_: tests)
    monkeypatch.setattr(
        run_tests, "run_ctest", lambda t, e, chosen: calls.append(chosen) or (1, "")
    )
    monkeypatch.setattr(run_tests, "run_pytest", lambda *_: (code, ""))
    expectation = contextlib.nullcontext() if passes else pytest.raises(Failure)
    with expectation:
        run_tests.run_tests(Path("tree"), ENVIRONMENT, ["-k", expression], root)
    assert calls == ([ran] if ran else [])


def test_closing_lines_are_found(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("x\n\x1b[32m===== \x1b[1m12 passed\x1b[0m, 1 skipped in 3.21s =====\x1b[0m\n")
    assert run_tests.closing_line(log, r" in [\d.]+s\b") == "12 passed, 1 skipped in 3.21s"
    result = "50% tests passed, 1 tests failed out of 2"
    log.write_text(f"{result}\n\nErrors while running CTest\n")
    assert run_tests.closing_line(log, "tests passed") == result
    log.write_text("")
    assert run_tests.closing_line(log, "tests passed") == "ended without a result"


def test_the_stamp_is_that_of_this_environment(module_folder: Path) -> None:
    stamp = json.loads((module_folder / "stamp.json").read_text())
    here = describe()
    assert (stamp["python"], stamp["torch"], stamp["cuda"]) == (here.python, here.torch, here.cuda)
