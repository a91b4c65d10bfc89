"""The command `zoodip` of an installed wheel: becomes the program that was built for this torch.

Where torchrun has started several of it, each is a rank of one run (`_ranks`).
"""

from __future__ import annotations

import os
import subprocess
import sys

from . import __version__
from ._environment import describe
from ._loader import NativeModuleError, find_module, module_roots


def int_of(text: str | None) -> int:
    """0 for what is no number."""
    return int(text) if text is not None and text.isdecimal() else 0


def main() -> int:
    """Returns only where nothing fits, and on Windows, which knows no exec."""
    if int_of(os.environ.get("WORLD_SIZE")) > 1 and "RANK" in os.environ:
        from ._ranks import run_rank

        run_rank(sys.argv[1:])
    try:
        folder = find_module(module_roots(), describe(), __version__)
    except NativeModuleError as error:
        print(f"zoodip: {error}", file=sys.stderr)
        return 1
    program = str(folder / ("zoodip.exe" if os.name == "nt" else "zoodip"))
    command = [program, *sys.argv[1:]]
    if os.name == "nt":
        return subprocess.run(command, check=False).returncode
    os.execv(program, command)
