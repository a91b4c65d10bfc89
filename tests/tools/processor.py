"""What this processor has, as Linux tells it."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

__all__ = ["needs_integer_products", "processor_flags"]


def processor_flags() -> set[str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return set()
    flags = re.search(r"^flags\s*:(.*)$", text, re.MULTILINE)
    return set(flags[1].split()) if flags else set()


def _has_integer_products() -> bool:
    """AVX2, and float products beside them."""
    onednn, own = (os.environ.get(f"{name}_CPU_ISA") for name in ("ONEDNN_MAX", "ZOODIP"))
    return {"avx2", "fma"} <= processor_flags() and onednn != "SSE41" and own != "plain"


needs_integer_products = pytest.mark.skipif(
    not _has_integer_products(), reason="the processor has no AVX2"
)
