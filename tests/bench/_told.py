"""How benchmarks of several rounds are told: spreads, a report and its numbers."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ._jobs import write_text
from ._step_report import machine_list


def spread(values: Sequence[float], form: str = ".3g") -> str:
    """Their median, in brackets the lowest and the highest."""
    low, high = min(values), max(values)
    return f"{statistics.median(values):{form}} ({low:{form}} to {high:{form}})"


def tell(out: Path, command: str, told: Sequence[str], results: Mapping[str, Any]) -> None:
    """Prints a report and leaves it in a folder with its numbers, `results`, which have the
    machine."""
    report = "\n\n".join([f"`{command}`", *told, machine_list(results["machine"])])
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "report.md", report + "\n")
    write_text(out / "results.json", json.dumps({"command": command, **results}, indent=1) + "\n")
    print(report)
