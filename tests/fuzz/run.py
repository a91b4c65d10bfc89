#!/usr/bin/env python3
"""Fuzzes one target: builds it, runs it for some time, and says how many inputs it took.

    python tests/fuzz/run.py safetensors --seconds 600

What it learned is kept in build/fuzz/learned/TARGET, so that a later run goes on from there. An
input that ends the target is kept in build/fuzz/findings; once what it shows is mended, it joins
corpus/TARGET.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "tools")]

from instrumented import (  # noqa: E402
    ADDRESS,
    Failure,
    build,
    find_clang,
    run_logged,
    say,
    show_end,
)

TARGETS = sorted(path.name for path in (HERE / "corpus").iterdir())
MEGABYTES, SECONDS_EACH = 2048, 120  # what one input may take, on a machine that does other work


def build_target(target: str) -> Path:
    options = [f"-DCMAKE_CXX_COMPILER={find_clang()}", "-DZOODIP_FUZZ=ON"]
    return build("fuzz", [*options, f"-DZOODIP_SANITIZE={ADDRESS}"], [f"fuzz_{target}"])


def command(tree: Path, target: str, seconds: int) -> list[str]:
    """libFuzzer's command line; its first folder is where new inputs go."""
    learned, findings = tree / "learned" / target, tree / "findings"
    for folder in (learned, findings):
        folder.mkdir(parents=True, exist_ok=True)
    return [
        str(tree / "tests" / "fuzz" / f"fuzz_{target}"),
        f"-max_total_time={seconds}",
        f"-rss_limit_mb={MEGABYTES}",
        f"-timeout={SECONDS_EACH}",
        f"-dict={HERE / 'dictionaries' / target}.dict",
        f"-artifact_prefix={findings}/{target}-",
        "-print_final_stats=1",
        str(learned),
        str(HERE / "corpus" / target),
    ]


def summary(log: str) -> str:
    """What libFuzzer's log says, in one line."""
    parts = {
        "inputs": r"number_of_executed_units: *(\d+)",
        "edges covered": r"cov: (\d+)",
        "inputs kept": r"corp: (\d+)",
        "MB at most": r"peak_rss_mb: *(\d+)",
        "s for the slowest": r"slowest_unit_time_sec: *(\d+)",
    }
    found = {name: re.findall(pattern, log) for name, pattern in parts.items()}
    return ", ".join(f"{numbers[-1] if numbers else '?'} {name}" for name, numbers in found.items())


def fuzz(target: str, seconds: int) -> None:
    tree = build_target(target)
    log = tree / f"{target}.log"
    say(f"Fuzzing {target} for {seconds} seconds; {log.relative_to(tree.parents[1])} has it all")
    status = run_logged(command(tree, target, seconds), log)
    say(f"{target}: {summary(log.read_text(encoding='utf-8', errors='replace'))}")
    if status != 0:
        show_end(log)
        raise Failure(f"{target}: ended on an input, which lies in {tree / 'findings'}")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=600)
    options = parser.parse_args()
    try:
        fuzz(options.target, options.seconds)
    except Failure as failure:
        print(f"run.py: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
