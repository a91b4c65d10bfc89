"""The machine and the libraries that figures were measured with."""

from __future__ import annotations

import os
import platform
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import zoodip

from ._jobs import cores

# Instruction sets that decide which kernels oneDNN and ATen take.
NOTABLE = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_tile", "amx_int8")
NOTABLE += ("amx_bf16",)
LIBRARIES = ("diffusers", "transformers", "optimum-quanto")
# Variables that choose kernels or how memory is kept.
VARIABLES = ("ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY", "MALLOC_ARENA_MAX", "LD_PRELOAD")


def cpu() -> tuple[str, list[str]]:
    """Model name and all feature flags of the first processor."""
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    name = re.search(r"^model name\s*: (.*)$", text, re.MULTILINE)
    flags = re.search(r"^flags\s*: (.*)$", text, re.MULTILINE)
    return name[1] if name else platform.machine(), flags[1].split() if flags else []


def onednn() -> str:
    found = re.search(r"MKL-DNN (v[\d.]+)", torch.__config__.show())
    return found[1] if found else "none"


def describe(threads: int) -> dict[str, Any]:
    """Worker: the machine, the libraries, and the compute types that the engine knows."""
    name, flags = cpu()
    settings = {setting["name"]: setting for setting in zoodip.settings()}
    return {
        "machine": {
            "processor": name,
            "instruction sets": [flag for flag in NOTABLE if flag in flags],
            "cores": cores(),
            "threads": threads,
            "memory (GB)": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
            "Python": platform.python_version(),
            "torch": torch.__version__,
            "oneDNN": onednn(),
            "zoodip": zoodip.__version__,
        }
        | {library: version(library) for library in LIBRARIES}
        | {variable: os.environ[variable] for variable in VARIABLES if variable in os.environ},
        "computes": [choice for choice in settings["compute"]["choices"] if choice != "auto"],
    }
