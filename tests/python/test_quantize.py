"""Quantised weights against optimum-quanto's qint8 and qint4: equal, to the bit."""

import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from make_checkpoint import SHAPES as MODELS
from make_checkpoint import Modules, build_modules, to_original
from optimum.quanto import freeze, qint4, qint8, quantize
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel
from zoodip import _native

QTYPES = {"int8": qint8, "int4": qint4}
TYPES = pytest.mark.parametrize("weights", QTYPES)

# Layers of all three parts of SD 1.5, some with fewer outputs, and odd ones.
SHAPES = [
    (320, 4, 3, 3),
    (160, 320, 3, 3),
    (40, 960, 3, 3),
    (4, 320, 3, 3),
    (80, 1280, 1, 1),
    (320, 768),
    (256, 320),
    (76, 3072),
    (8, 512, 3, 3),
    (128, 3, 3, 3),
    (2, 1),
    (7, 13, 5, 5),
    (33, 129),  # longer than a group, and no group divides it
    (5, 128),
    (3, 1, 12, 12),  # a single input, and groups that end within a kernel
    (4, 2, 16, 10),
]


def quanto_weight(weight, weights):
    """The weight of a quantised and frozen module of torch."""
    outputs, inputs, *kernel = weight.shape
    with torch.device("meta"):
        layer = (
            nn.Conv2d(inputs, outputs, kernel, bias=False)
            if kernel
            else nn.Linear(inputs, outputs, bias=False)
        )
    layer.weight = nn.Parameter(weight)
    model = nn.Sequential(layer)
    quantize(model, weights=QTYPES[weights])
    freeze(model)
    return model[0].weight


def integers(packed, shape, weights):
    """Of the weight's shape, out of our layout."""
    if weights == "int8":
        return packed.values
    outputs, inputs, *kernel = shape
    row = shape.numel() // outputs
    in_memory = torch.cat([packed.values & 15, packed.values >> 4], 1)[:, :row]
    return in_memory.view(outputs, *kernel, inputs).movedim(-1, 1)


def quanto_integers(reference):
    data = reference._data
    return data.unpack() if hasattr(data, "unpack") else data


def assert_equal_to_quanto(weight, weights):
    reference = quanto_weight(weight, weights)
    packed = _native.quantize(weight, weights)
    expected = quanto_integers(reference) * (reference._scale != 0)  # theirs are arbitrary there
    assert torch.equal(integers(packed, weight.shape, weights).reshape(expected.shape), expected)
    assert torch.equal(packed.scale.flatten(), reference._scale.flatten())
    if weights == "int4":
        assert torch.equal(packed.shift.flatten(), reference._shift.flatten())
    else:
        assert packed.shift is None
    dense = _native.dequantize(packed, weights)
    assert torch.equal(dense, reference.dequantize())
    half = _native.dequantize(packed, weights, "bf16")
    assert half.dtype == torch.bfloat16 and torch.equal(half, dense.bfloat16())
    if weight.dim() == 4:
        assert dense.is_contiguous(memory_format=torch.channels_last)
        assert half.is_contiguous(memory_format=torch.channels_last)


def random_weight(shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@TYPES
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equal_to_quanto(shape, dtype, weights):
    assert_equal_to_quanto(random_weight(shape).to(dtype).float(), weights)


def rows_of_stable_diffusion():
    """What an output channel's weights look like, [inputs, kernel...], in every layer there is."""
    shape, tiny = MODELS["sd15"], MODELS["tiny-taesd"]
    with torch.device("meta"):
        modules = [
            UNet2DConditionModel(**shape.unet),
            CLIPTextModel(CLIPTextConfig(**shape.text_encoder)),
            AutoencoderKL(**shape.vae),
            AutoencoderTiny(**tiny.vae),
        ]
    layers = [m for module in modules for m in module.modules()]
    return sorted({tuple(m.weight.shape[1:]) for m in layers if type(m) in (nn.Linear, nn.Conv2d)})


@TYPES
def test_every_layer_of_stable_diffusion(weights):
    """Groups lie within an output channel, so that a few channels stand for all."""
    rows = rows_of_stable_diffusion()
    assert (4, 3, 3) in rows and (2560, 3, 3) in rows and (3072,) in rows and (3, 3, 3) in rows
    for row in rows:
        assert_equal_to_quanto(random_weight((5, *row), seed=len(row)).half().float(), weights)


@TYPES
@pytest.mark.parametrize("shape", [(6, 64), (6, 320), (6, 32, 3, 3)], ids=str)
def test_rows_without_spread_and_with_too_little_or_much(shape, weights):
    weight = random_weight(shape)
    weight[0] = 0
    weight[1] = 0.3
    weight[2] *= 1e-44  # a fifteenth of the spread is rounded, to nothing or to a few bits
    weight[3] *= 1e-39
    weight[4] = weight[4].abs()
    weight[5, 0] = 1e6
    assert_equal_to_quanto(weight, weights)


@TYPES
def test_channels_last_weights_are_the_same_numbers(weights):
    weight = random_weight((16, 32, 3, 3), seed=2)
    plain = _native.quantize(weight, weights)
    other = _native.quantize(weight.to(memory_format=torch.channels_last), weights)
    assert torch.equal(plain.values, other.values)
    assert torch.equal(plain.scale, other.scale)


@TYPES
def test_a_single_output_is_one_row(weights):
    """Here quanto's qint4 takes extremes over the wrong dimension; no layer of a model is such."""
    weight = random_weight((1, 96))
    packed = _native.quantize(weight, weights)
    doubled = _native.quantize(weight.repeat(2, 1), weights)
    assert torch.equal(packed.scale[0], doubled.scale[1])
    assert torch.equal(packed.values[0], doubled.values[1])


def test_weights_too_far_apart_are_refused():
    weight = torch.tensor([[-3e38, 3e38], [0.0, 1.0]])
    with pytest.raises(_native.Error, match="further apart than float32"):
        _native.quantize(weight, "int4")


def test_what_is_no_weight_is_refused():
    with pytest.raises(_native.Error, match=r"float32 weight .* got CPUDoubleType \[2, 2\]"):
        _native.quantize(torch.ones(2, 2).double(), "int4")
    with pytest.raises(_native.Error, match="'dense' is no quantised type"):
        _native.quantize(torch.ones(2, 2), "dense")
    with pytest.raises(_native.Error, match="expected int8, int4, or dense, got 'int5'"):
        _native.quantize(torch.ones(2, 2), "int5")


@TYPES
def test_a_whole_unet(weights):
    """Against diffusers' UNet, quantised by quanto. The weights are the same numbers, so that the
    bound of tests/python/test_models.py for dense ones holds: sums in another order, 1e-4. Either
    type itself moves the result by far more."""
    unet = build_modules("tiny", seed=9, parts=["unet"]).unet
    source = _native.weights_in_memory(
        {name: tensor.clone() for name, tensor in to_original(Modules(unet=unet)).items()}
    )
    generator = torch.Generator().manual_seed(2)
    sample = torch.randn(2, 4, 16, 16, generator=generator)
    context = torch.randn(2, 77, unet.config.cross_attention_dim, generator=generator)
    timesteps = torch.tensor([500.0, 900.0])
    with torch.no_grad():
        exact = unet(sample, timesteps, context).sample
        quantize(unet, weights=QTYPES[weights])
        freeze(unet)
        reference = unet(sample, timesteps, context).sample
    ours = _native.UNet(source, weights=weights).forward(sample, timesteps, context)
    scale = reference.abs().max()
    assert (ours - reference).abs().max() <= 1e-4 * scale
    assert (exact - reference).abs().max() > 2e-3 * scale


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
