"""Build trees with sanitizers or fuzzers, beside the ordinary ones and apart from them."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / name) for name in ("native", "native/python")]

from setup.build import (  # noqa: E402
    Progress,
    compiler_launcher,
    generator_options,
    parallel_jobs,
)
from setup.process import Failure, advice, run_logged, say, show_end  # noqa: E402
from setup.system import compiler_is_new_enough, find_cmake, find_tool  # noqa: E402

# What -fsanitize= takes. A conversion of a number that is out of range is not part of `undefined`.
ADDRESS = "address,undefined,float-cast-overflow"
# Line numbers in reports, asserts on, and fast enough to run.
FLAGS = "-DCMAKE_CXX_FLAGS_RELEASE=-O1 -g1"


def find_clang() -> str:
    """The newest clang on PATH that compiles the library."""
    names = [*(f"clang++-{n}" for n in range(25, 15, -1)), "clang++"]
    found = [path for path in map(shutil.which, names) if path and compiler_is_new_enough(path)]
    if not found:
        raise Failure(
            "fuzzing needs clang 16 or newer with libFuzzer; on Debian and Ubuntu run: "
            "apt-get install clang-16 libclang-rt-16-dev"
        )
    return found[0]


def cmake() -> str:
    path = find_cmake(sys.executable)
    if path is None:
        raise Failure("CMake 3.20 or newer is missing; `python install.py test` gets it")
    return path


def build(name: str, options: list[str], targets: list[str]) -> Path:
    """Configures build/NAME with these options, builds these targets, and returns the tree."""
    tree = ROOT / "build" / name
    command = [cmake(), "-S", str(ROOT), "-B", str(tree)]
    command += generator_options(tree, find_tool("ninja", sys.executable))
    command += ["-DCMAKE_BUILD_TYPE=Release", FLAGS, f"-DPython_EXECUTABLE={sys.executable}"]
    command += [f"-DCMAKE_CXX_COMPILER_LAUNCHER={compiler_launcher()}", *options]
    log = tree.with_name(f"{name}.configure.log")
    if run_logged(command, log) != 0:
        show_end(log)
        raise Failure(f"CMake found something amiss: {advice(log)}")
    say(f"Building {' '.join(targets)}")
    log = tree.with_name(f"{name}.compile.log")
    command = [cmake(), "--build", str(tree), "--parallel", str(parallel_jobs())]
    if run_logged([*command, "--target", *targets], log, Progress()) != 0:
        show_end(log)
        raise Failure(f"compiling failed: {advice(log)}")
    return tree
