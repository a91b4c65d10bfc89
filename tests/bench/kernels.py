"""How fast the CPU kernels are beside torch's own, on this machine.

    python -m zoodip.bench kernels [--only conv2d]

Builds the target `bench_kernels` in build/bench-kernels and runs it: ours and torch's in turn, the
best of several repetitions each, since other work on the machine only ever makes them slower.
ONEDNN_MAX_CPU_ISA, MKL_ENABLE_INSTRUCTIONS and ZOODIP_CPU_ISA choose other instruction sets.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "native")]

from setup.build import Progress, compiler_launcher, generator_options, parallel_jobs  # noqa: E402
from setup.process import Failure, advice, run_logged, show_end  # noqa: E402
from setup.system import find_cmake, find_tool  # noqa: E402

TREE = ROOT / "build" / "bench-kernels"


def build() -> Path:
    """The program, built."""
    cmake = find_cmake(sys.executable)
    if cmake is None:
        raise Failure("CMake 3.20 or newer is missing; `python install.py test` gets it")
    configure = [cmake, "-S", str(ROOT), "-B", str(TREE), "-DZOODIP_BENCH=ON"]
    configure += generator_options(TREE, find_tool("ninja", sys.executable))
    configure += ["-DCMAKE_BUILD_TYPE=Release", f"-DPython_EXECUTABLE={sys.executable}"]
    configure += [f"-DCMAKE_CXX_COMPILER_LAUNCHER={compiler_launcher()}"]
    log = TREE.with_name(TREE.name + ".configure.log")
    if run_logged(configure, log) != 0:
        show_end(log)
        raise Failure(
            "configuring failed; Google Benchmark is libbenchmark-dev on Debian, "
            "google-benchmark-devel on Fedora"
        )
    log = TREE.with_name(TREE.name + ".compile.log")
    command = [cmake, "--build", str(TREE), "--parallel", str(parallel_jobs())]
    if run_logged([*command, "--target", "bench_kernels"], log, Progress()) != 0:
        show_end(log)
        raise Failure(f"compiling failed: {advice(log)}")
    return TREE / "tests" / "bench" / "kernels" / "bench_kernels"


def measure(program: Path, only: str, repetitions: int) -> dict[str, tuple[float, float]]:
    """The least milliseconds and the GFLOP/s of each benchmark."""
    report = TREE / "report.json"
    command = [str(program), f"--benchmark_filter={only}", f"--benchmark_out={report}"]
    command += [f"--benchmark_repetitions={repetitions}", "--benchmark_min_time=0.05"]
    command += ["--benchmark_enable_random_interleaving=true"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    best: dict[str, tuple[float, float]] = {}
    for run in json.loads(report.read_text(encoding="utf-8"))["benchmarks"]:
        if run["run_type"] == "iteration":
            name = run["run_name"].removesuffix("/real_time")
            rate = run.get("FLOP/s", 0.0) / 1e9
            best[name] = min(best.get(name, (float("inf"), 0.0)), (run["real_time"], rate))
    return best


def table(best: dict[str, tuple[float, float]]) -> str:
    """A row for each of ours that has a counterpart; the ratio is torch's time over ours."""
    rows = [f"{'':56}{'ours ms':>10}{'GFLOP/s':>9}{'torch ms':>10}{'GFLOP/s':>9}{'ratio':>7}"]
    for name, (time, rate) in sorted(best.items()):
        other = best.get("torch/" + name.removeprefix("ours/"))
        if name.startswith("ours/") and other is not None:
            rows.append(
                f"{name.removeprefix('ours/'):56}{time:10.3f}{rate:9.0f}"
                f"{other[0]:10.3f}{other[1]:9.0f}{other[0] / time:7.2f}"
            )
    return "\n".join(rows)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="zoodip.bench kernels")
    parser.add_argument("--only", default=".", help="a regular expression that names must match")
    parser.add_argument("--repetitions", type=int, default=5)
    options = parser.parse_args(arguments)
    try:
        print(table(measure(build(), options.only, options.repetitions)))
    except Failure as failure:
        sys.exit(f"zoodip.bench: {failure}")
