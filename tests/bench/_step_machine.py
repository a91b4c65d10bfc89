"""The machine and the libraries that figures were measured with."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import zoodip

from ._jobs import cores
from ._step_ours import real_program
from ._step_worker import ROOT

# Instruction sets that decide which kernels oneDNN and ATen take.
NOTABLE = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_tile", "amx_int8")
NOTABLE += ("amx_bf16",)
LIBRARIES = ("diffusers", "transformers", "optimum-quanto")
# Variables that choose kernels or how memory is kept.
VARIABLES = ("ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY", "MKL_ENABLE_INSTRUCTIONS")
VARIABLES += ("ZOODIP_CPU_ISA", "MALLOC_ARENA_MAX", "MALLOC_CONF", "LD_PRELOAD")
VARIABLES += ("OMP_PROC_BIND", "OMP_WAIT_POLICY")


def cpu() -> tuple[str, list[str]]:
    """Name and all feature flags of the first processor."""
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8")

    def field(name: str) -> str:
        found = re.search(rf"^{name}\s*: (.*)$", text, re.MULTILINE)
        return found[1] if found else "?"

    numbers = f"family {field('cpu family')}, model {field('model')}, stepping {field('stepping')}"
    return f"{field('model name')} ({numbers})", field("flags").split()


def allocator() -> str:
    """Of the program `zoodip`, which is linked to jemalloc where that was there."""
    return "jemalloc" if b"libjemalloc.so" in real_program().read_bytes() else "the system's"


def commit() -> str:
    """Of the checkout, with a mark where tracked files differ from it; `?` outside of one."""
    words = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(words, capture_output=True, text=True)
    except OSError:
        return "?"
    return done.stdout.strip() or "?"


def onednn() -> str:
    found = re.search(r"MKL-DNN (v[\d.]+)", torch.__config__.show())
    return found[1] if found else "none"


def describe(threads: int) -> dict[str, Any]:
    """Worker: the machine, the libraries, and the compute types that the engine knows."""
    name, flags = cpu()
    settings = {setting["name"]: setting for setting in zoodip.settings()}
    return {
        "machine": {
            "date": time.strftime("%Y-%m-%d", time.gmtime()),
            "commit": commit(),
            "processor": name,
            "instruction sets": [flag for flag in NOTABLE if flag in flags],
            "cores": cores(),
            "threads": threads,
            "memory (GB)": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
            "kernel": platform.release(),
            "Python": platform.python_version(),
            "torch": torch.__version__,
            "oneDNN": onednn(),
            "zoodip": zoodip.__version__,
            "allocator of zoodip": allocator(),
        }
        | {library: version(library) for library in LIBRARIES}
        | {variable: os.environ[variable] for variable in VARIABLES if variable in os.environ},
        "computes": [choice for choice in settings["compute"]["choices"] if choice != "auto"],
    }
