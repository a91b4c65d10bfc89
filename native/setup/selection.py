"""Which native tests go with what was handed to pytest: `-k` chooses among them as it does among
pytest's own, a path or a mark (`-m`) chooses none of them."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from pathlib import Path

_WORDS = re.compile(r"\(|\)|[^\s()]+")
_OPERATORS = {"and", "or", "not", "(", ")"}


def matcher(expression: str) -> Callable[[str], bool]:
    """pytest's `-k`: words that occur in the name in any case, with `and`, `or`, `not` and
    brackets. ValueError where it is no such expression."""
    words = _WORDS.findall(expression)

    def matches(name: str) -> bool:
        lower = name.lower()
        values = [word if word in _OPERATORS else str(word.lower() in lower) for word in words]
        # Nothing but True, False and the operators is left.
        return bool(eval(" ".join(values), {"__builtins__": {}}))

    try:
        matches("")
    except (SyntaxError, TypeError) as error:
        raise ValueError(f"-k {expression}: not words joined by and, or, not") from error
    return matches


def native_choice(pytest_arguments: Sequence[str], root: Path) -> Callable[[str], bool] | None:
    """What says of a native test's name whether it is to run; None where pytest was given what
    chooses among its own tests alone."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("-k", default="")
    parser.add_argument("-m", default="")
    options, rest = parser.parse_known_args(list(pytest_arguments))
    paths = [word for word in rest if not word.startswith("-")]
    if options.m or any((root / word.split("::")[0]).exists() for word in paths):
        return None
    return matcher(options.k) if options.k.strip() else lambda name: True
