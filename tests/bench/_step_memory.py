"""Peak memory of a process on Linux, in parts: the peak can be read and begun anew."""

from __future__ import annotations

import ctypes
import gc
import re
from pathlib import Path


def peak(process: int | str = "self") -> int:
    """Bytes of resident memory at the peak since `restart_peak`, or since the program's start."""
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    if found is None:
        raise ProcessLookupError(f"process {process} has ended; its peak memory is gone")
    return 1024 * int(found[1])


def restart_peak(process: int | str = "self") -> None:
    """The peak is that of what comes from now on; it begins at what is resident now."""
    Path(f"/proc/{process}/clear_refs").write_text("5", encoding="ascii")


def begin_training_peak() -> None:
    """For a reference that has loaded: what glibc keeps of the memory that loading freed, up to
    two gigabytes, goes back to the system first. The public script leaves it, this is in its
    favour."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    restart_peak()
