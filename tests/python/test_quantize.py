"""INT8 weights against optimum-quanto's qint8: integers and scales equal, to the bit."""

import pytest
import torch
from optimum.quanto import AbsmaxOptimizer, QBytesTensor, qint8, quantize_weight
from zoodip import _native

# Layers of all three parts of SD 1.5, and odd ones.
SHAPES = [
    (320, 4, 3, 3),
    (320, 320, 3, 3),
    (640, 960, 3, 3),
    (4, 320, 3, 3),
    (1280, 1280, 1, 1),
    (320, 768),
    (2560, 320),
    (768, 3072),
    (8, 512, 3, 3),
    (128, 3, 3, 3),
    (1, 1),
    (7, 13, 5, 5),
    (33, 129),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equal_to_quanto(shape, dtype):
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(dtype).float()
    scale = AbsmaxOptimizer()(weight, qtype=qint8, axis=0)
    reference = quantize_weight(weight, qtype=qint8, axis=0, scale=scale)
    assert isinstance(reference, QBytesTensor)
    values, scales = _native.quantize_int8(weight)
    assert torch.equal(scales, reference._scale.flatten())
    assert torch.equal(values, reference._data)
    assert torch.equal(_native.dequantize_int8(values, scales), reference.dequantize())


def test_channels_last_weights_are_the_same_numbers():
    weight = torch.randn(16, 8, 3, 3, generator=torch.Generator().manual_seed(2))
    values, scales = _native.quantize_int8(weight)
    other, other_scales = _native.quantize_int8(weight.to(memory_format=torch.channels_last))
    assert torch.equal(values, other)
    assert torch.equal(scales, other_scales)


@pytest.mark.parametrize("silu", [False, True])
@pytest.mark.parametrize("shape", [(2, 64, 7, 9), (3, 320, 16, 16), (1, 64, 4, 4)])
def test_group_norm(shape, silu):
    """Against torch in float64: one rounding each of gain, offset and result, 1e-6 of the scale."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(shape, generator=generator) * 3 + 1
    weight, bias = torch.randn(2, shape[1], generator=generator)
    reference = torch.nn.functional.group_norm(x.double(), 32, weight.double(), bias.double(), 1e-5)
    if silu:
        reference = torch.nn.functional.silu(reference)
    ours = _native.group_norm(x, 32, weight, bias, 1e-5, silu)
    assert (ours - reference).abs().max() <= 1e-6 * reference.abs().max()
