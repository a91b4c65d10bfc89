"""The command `zoodip` of an installed wheel: becomes the program that was built for this torch."""

from __future__ import annotations

import os
import subprocess
import sys

from . import __version__
from ._environment import describe
from ._loader import NativeModuleError, find_module, module_roots


def main() -> int:
    """Returns only where nothing fits, and on Windows, which knows no exec."""
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
