"""Runs a benchmark of the checkout: `python -m zoodip.bench learn --quick`.

The benchmarks lie in tests/bench, each a module with a `main(arguments)`; `python -m zoodip.bench`
lists them.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "tests" / "bench"


def main(arguments: list[str]) -> int:
    names = sorted(path.stem for path in FOLDER.glob("[!_]*.py"))
    if not names:
        print(f"zoodip.bench: {FOLDER} has no benchmarks; run from a checkout", file=sys.stderr)
        return 2
    if not arguments or arguments[0] not in names:
        print(f"usage: python -m zoodip.bench {{{','.join(names)}}} ...", file=sys.stderr)
        return 2
    sys.path.insert(0, str(ROOT))
    importlib.import_module(f"tests.bench.{arguments[0]}").main(arguments[1:])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
