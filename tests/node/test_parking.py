"""Weights in less memory, and back to the bit."""

from __future__ import annotations

import pytest
import torch
from comfyui_zoodip.node.parking import halved


def model(mode: bool) -> torch.nn.Module:
    """Of numbers that float16 has, of others, and of some that are neither."""
    with torch.inference_mode(mode):
        made = torch.nn.Module()
        generator = torch.Generator().manual_seed(0)
        numbers = torch.randn(64, 64, generator=generator)
        edges = torch.tensor([0.0, -0.0, 6e-8, 65504.0, float("inf")]).half().float()
        values = {
            "exact": numbers.half().float(),
            "edges": edges,
            "fine": numbers,
            "large": torch.tensor([65520.0]),
            "nan": torch.tensor([float("nan")]),
            "stored": numbers.half(),
            "part": torch.zeros(8, 4)[:4],
        }
        for name, value in values.items():
            setattr(made, name, torch.nn.Parameter(value, requires_grad=False))
        return made


def bits(made: torch.nn.Module) -> dict[str, bytes]:
    return {name: value.detach().numpy().tobytes() for name, value in made.named_parameters()}


@pytest.mark.parametrize("mode", [False, True])
def test_what_float16_has_takes_half_and_comes_back(mode):
    made = model(mode)
    before, objects = bits(made), dict(made.named_parameters())
    with halved([made]):
        halves = {name for name, value in objects.items() if value.dtype == torch.float16}
        assert halves == {"exact", "edges", "stored"}
        assert made.exact.untyped_storage().nbytes() == 64 * 64 * 2
    assert bits(made) == before
    assert all(value is objects[name] for name, value in made.named_parameters())
    assert made.stored.dtype == torch.float16 and made.exact.dtype == torch.float32


def test_a_failure_brings_them_back_too():
    made = model(False)
    before = bits(made)
    with pytest.raises(RuntimeError), halved([made]):
        raise RuntimeError
    assert bits(made) == before
