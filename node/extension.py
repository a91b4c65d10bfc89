"""What ComfyUI loads: the nodes, the routes of the page, one line in the log."""

from __future__ import annotations

import atexit
import logging

import comfy.model_management
import torch
from comfy_api.latest import ComfyExtension, io
from server import PromptServer

from . import demo_model, host, nodes_data, nodes_token, options, personalize, subjects
from .native import engine_problem, zoodip
from .routes import add_routes
from .template_order import in_order

log = logging.getLogger("zoodip")


class _Named(logging.Filter):
    """Says who speaks in a log that many packages write: the engine's messages do not."""

    def filter(self, record: logging.LogRecord) -> bool:
        if not str(record.msg).startswith("ZOODiP"):
            record.msg = f"ZOODiP: {record.msg}"
        return True


class ZoodipExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        groups = (personalize, subjects, options, nodes_data, nodes_token, demo_model)
        return [node for group in groups for node in group.NODES]


def start() -> ZoodipExtension:
    """Called once, when ComfyUI starts."""
    log.addFilter(_Named())
    jobs = host.jobs()
    add_routes(PromptServer.instance.routes, jobs)
    PromptServer.instance.app.middlewares.append(in_order)
    jobs.begin()
    # A training must not reach into an interpreter that ends: it is stopped, kept and waited for.
    atexit.register(jobs.end)
    log.info(start_line())
    return ZoodipExtension()


# What matters here beside torch's own choice, as torch tells it; not every torch tells all.
_EXTENSIONS = {
    "VNNI": "_is_vnni_supported",
    "BF16": "_is_avx512_bf16_supported",
    "AMX": "_is_amx_tile_supported",
}


def start_line() -> str:
    """Version, whether trainings can run, device, instruction sets of the processor."""
    problem = engine_problem()
    engine = f"engine for torch {torch.__version__}" if problem is None else f"no engine: {problem}"
    device = comfy.model_management.get_torch_device()
    found = [torch.backends.cpu.get_cpu_capability()]
    for name, asked in _EXTENSIONS.items():
        if getattr(torch.cpu, asked, lambda: False)():
            found.append(name)
    return f"ZOODiP {zoodip().__version__}: {engine}; device {device}; {' '.join(found)}"
