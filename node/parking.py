"""ComfyUI's own weights, held in less memory while a training does not need them.

On a processor ComfyUI computes in float32, and holds so what most checkpoints keep as float16. The
engine trains on a copy of its own, and ComfyUI's lies idle until the pictures are drawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch


@contextmanager
def halved(models: Iterable[torch.nn.Module]) -> Iterator[None]:
    """Holds float32 parameters as float16 while the block runs: those that come back to the bit.

    The models must not compute meanwhile. The parameters stay the same objects.
    """
    parked: list[torch.nn.Parameter] = []
    try:
        with torch.inference_mode():
            for model in models:
                for parameter in model.parameters():
                    if _halve(parameter):
                        parked.append(parameter)
        yield
    finally:
        with torch.inference_mode():
            for parameter in parked:
                parameter.data = parameter.data.float()


def _halve(parameter: torch.nn.Parameter) -> bool:
    """Whether it was of float32 and is of float16 now."""
    if parameter.dtype != torch.float32 or parameter.device.type != "cpu":
        return False
    if parameter.untyped_storage().nbytes() != parameter.nbytes:
        return False  # its memory is a part of more, which would not be given back
    half = parameter.data.half()
    if not torch.equal(half.float(), parameter.data):  # NaN is not equal, and stays
        return False
    parameter.data = half
    return True
