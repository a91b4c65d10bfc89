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
    """AVX-512 VNNI or AMX, as oneDNN's kernels take them."""
    allowed = os.environ.get("ONEDNN_MAX_CPU_ISA", "ALL") not in ("SSE41", "AVX2", "AVX512_CORE")
    return allowed and bool({"avx512_vnni", "amx_int8"} & processor_flags())


needs_integer_products = pytest.mark.skipif(
    not _has_integer_products(), reason="the processor has neither AVX-512 VNNI nor AMX"
)
