"""Configures, compiles, and puts the result where the loader and the launcher look."""

from __future__ import annotations

import filecmp
import os
import re
import shutil
import sys
from pathlib import Path

from zoodip._environment import Environment

from .process import Failure, advice, run_logged, say, show_end
from .system import find_cmake, find_compiler, find_tool


def parallel_jobs() -> int:
    """Compilers to run at once: one a core, as long as each has 2 GB of memory."""
    if os.environ.get("CMAKE_BUILD_PARALLEL_LEVEL", "").isdigit():
        return int(os.environ["CMAKE_BUILD_PARALLEL_LEVEL"])
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return cores or 1
    return max(1, min(cores or 1, memory // 2_000_000_000))


class Progress:
    """Shows how far ninja or make has come: a running count on a terminal, tenths elsewhere."""

    def __init__(self) -> None:
        self._tenth = -1

    def __call__(self, line: str) -> None:
        ninja = re.match(r"\[(\d+)/(\d+)\]", line)
        make = re.match(r"\[ *(\d+)%\]", line)
        if not (ninja or make) or "Re-checking" in line:
            return
        share = int(ninja[1]) / int(ninja[2]) if ninja else int(make[1]) / 100 if make else 0
        if sys.stdout.isatty():
            print(f"\r  {share:4.0%}", end="\n" if share == 1 else "", flush=True)
        elif int(share * 10) > self._tenth:
            self._tenth = int(share * 10)
            say(f"  {share:.0%}")


def generator_options(cmake_tree: Path, ninja: str | None) -> list[str]:
    """Options that choose ninja where it is. A tree made for another generator is of no use."""
    cache = cmake_tree / "CMakeCache.txt"
    if cache.is_file():
        found = re.search(r"CMAKE_GENERATOR:INTERNAL=(.*)", cache.read_text(errors="replace"))
        if found and (found[1] == "Ninja") != bool(ninja):
            shutil.rmtree(cmake_tree)
    return ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"] if ninja else []


def compiler_launcher() -> str:
    """ccache where it is, told that precompiled headers may be cached; empty elsewhere."""
    ccache = shutil.which("ccache")
    settings = "CCACHE_SLOPPINESS=pch_defines,time_macros"
    return f"{shutil.which('env')};{settings};{ccache}" if ccache else ""


def _configure(tree: Path, environment: Environment, root: Path, development: bool) -> None:
    python = environment.python_executable
    compiler = None if "CXX" in os.environ or os.name == "nt" else find_compiler()
    switch = "ON" if development else "OFF"
    command = [str(find_cmake(python)), "-S", str(root), "-B", str(tree)]
    command += generator_options(tree, find_tool("ninja", python))
    command += ["-DCMAKE_BUILD_TYPE=Release", f"-DPython_EXECUTABLE={python}"]
    command += [f"-DZOODIP_DEV={switch}", f"-DZOODIP_TESTS={switch}"]
    command += [f"-DCMAKE_CXX_COMPILER_LAUNCHER={compiler_launcher()}"]
    command += [f"-DCMAKE_CXX_COMPILER={compiler}"] if compiler else []
    log = tree.with_name(tree.name + ".configure.log")
    if run_logged(command, log) == 0:
        return
    show_end(log)
    libraries = re.search(r"apt-get install .+", log.read_text(errors="replace"))
    if libraries:
        raise Failure(f"libraries are missing; run: {libraries[0]} - then run this again")
    raise Failure(f"CMake found something amiss: {advice(log)}")


def publish(made: Path, folder: Path) -> None:
    """Copies what was built into place: each file whole or not at all, the stamp last."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in sorted(made.iterdir(), key=lambda path: path.suffix == ".json"):
        target = folder / file.name
        if target.is_file() and filecmp.cmp(file, target):
            continue
        fresh = folder / f".{file.name}.{os.getpid()}"
        try:
            shutil.copy2(file, fresh)
            fresh.replace(target)
        finally:
            fresh.unlink(missing_ok=True)


def tree_of(environment: Environment, root: Path, development: bool) -> Path:
    """The build tree. Warnings are errors in the development tree, so the two compile apart and
    going from one to the other rebuilds nothing."""
    return root / "build" / (environment.tag + ("-dev" if development else ""))


def build(environment: Environment, root: Path, development: bool) -> Path:
    """Builds for an environment; returns modules/<tag>, where the module and programs then are."""
    tree = tree_of(environment, root, development)
    say(f"Building for Python {environment.python} and torch {environment.torch}")
    _configure(tree, environment, root, development)
    log = tree.with_name(tree.name + ".compile.log")
    cmake = str(find_cmake(environment.python_executable))
    command = [cmake, "--build", str(tree), "--config", "Release"]
    command += ["--parallel", str(parallel_jobs())]
    if run_logged(command, log, Progress()) != 0:
        show_end(log)
        raise Failure(f"compiling failed: {advice(log)}")
    folder = root / "modules" / environment.tag
    publish(tree / "module", folder)
    return folder
