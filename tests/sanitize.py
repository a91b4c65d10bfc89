#!/usr/bin/env python3
"""Builds the native tests with sanitizers and runs them, the corpora of the fuzz targets too.

python tests/sanitize.py address   AddressSanitizer and UndefinedBehaviorSanitizer, everything
python tests/sanitize.py thread    ThreadSanitizer, the parts that do without torch
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent / "tools")]

from instrumented import ADDRESS, Failure, build, say  # noqa: E402
from setup.run_tests import run_ctest  # noqa: E402
from zoodip._environment import describe  # noqa: E402

# torch is not instrumented, so that ThreadSanitizer could not see how its threads wait.
OPTIONS = {
    "address": [f"-DZOODIP_SANITIZE={ADDRESS}"],
    "thread": ["-DZOODIP_SANITIZE=thread", "-DZOODIP_TORCH=OFF"],
}


def run(sanitizer: str) -> None:
    options = ["-DZOODIP_TESTS=ON", *OPTIONS[sanitizer]]
    tree = build(f"sanitize-{sanitizer}", options, ["native_tests"])
    say("Running the native tests")
    passed, closing = run_ctest(tree, describe())
    say(f"{sanitizer}: {closing}")
    if not passed:
        raise Failure(f"tests failed: see above, or {tree}.ctest.log")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("sanitizer", choices=sorted(OPTIONS))
    try:
        run(parser.parse_args().sanitizer)
    except Failure as failure:
        print(f"sanitize.py: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
