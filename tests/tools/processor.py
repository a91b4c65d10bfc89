"""Whether this processor multiplies 8-bit integers as the engine asks it to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

__all__ = ["needs_integer_products"]


def _has_integer_products() -> bool:
    """AVX-512 VNNI or AMX, as oneDNN's kernels take them."""
    path = Path("/proc/cpuinfo")
    flags = path.read_text("utf-8").split() if path.exists() else []
    allowed = os.environ.get("ONEDNN_MAX_CPU_ISA", "ALL") not in ("SSE41", "AVX2", "AVX512_CORE")
    return allowed and ("avx512_vnni" in flags or "amx_int8" in flags)


needs_integer_products = pytest.mark.skipif(
    not _has_integer_products(), reason="the processor has neither AVX-512 VNNI nor AMX"
)
