"""Stable Diffusion modules of diffusers and transformers with random weights from a seed.

A weight depends on the seed, its module and its name alone, so that a part built alone equals that
part of the whole. Weights have a variance of about 1 / fan in, which keeps activations of order
one; norms lie near one, and no bias is zero, so that a bias left out or swapped shows.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

PARTS = ("unet", "text_encoder", "text_encoder_2", "vae")

# Of the token and position embeddings of CLIP (Radford et al. 2021 and its code).
EMBEDDING_STD = {"token_embedding": 0.02, "position_embedding": 0.01}
# A TAESD has no norms. With variance 1 / fan in its ReLUs make the activations shrink, and with
# 2 / fan in (He et al. 2015) its residual blocks make them grow; in between they stay near one.
TAESD_GAIN = 1.4
NORM_STD = 0.1
BIAS_STD = 0.05


@dataclass(frozen=True)
class Shape:
    """Keyword arguments of the three modules' configurations; `taesd` says which autoencoder."""

    unet: dict[str, Any]
    text_encoder: dict[str, Any]
    vae: dict[str, Any]
    taesd: bool = False
    preset: str = "sd15"
    """Of the family: "sd15", "sd21" or "sdxl"."""
    text_encoder_2: dict[str, Any] | None = None

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(part for part in PARTS if getattr(self, part) is not None)


@dataclass
class Modules:
    """float32, in evaluation mode, on the CPU; None for a part that was not asked for."""

    unet: UNet2DConditionModel | None = None
    text_encoder: CLIPTextModel | None = None
    vae: AutoencoderKL | AutoencoderTiny | None = None
    text_encoder_2: CLIPTextModelWithProjection | None = None


def _unet(widths: tuple[int, ...], attended: int, resnets: int, context: int) -> dict[str, Any]:
    """`attended`: how many of the levels, from the finest, have cross attention."""
    plain = len(widths) - attended
    return {
        "sample_size": 64,
        "block_out_channels": widths,
        "layers_per_block": resnets,
        "cross_attention_dim": context,
        # The number of heads: in this family the configuration's name misleads.
        "attention_head_dim": 8,
        "down_block_types": ("CrossAttnDownBlock2D",) * attended + ("DownBlock2D",) * plain,
        "up_block_types": ("UpBlock2D",) * plain + ("CrossAttnUpBlock2D",) * attended,
    }


def _linear_unet(widths: tuple[int, ...], attended: int, context: int) -> dict[str, Any]:
    """As Stable Diffusion 2.x has it: heads of 64 channels, linear projections."""
    return _unet(widths, attended, 1 if len(widths) < 4 else 2, context) | {
        "attention_head_dim": tuple(max(1, width // 64) for width in widths),
        "use_linear_projection": True,
    }


def _xl_unet(
    widths: tuple[int, ...], depths: tuple[int, ...], context: int, pooled: int, size: int
) -> dict[str, Any]:
    """depths: transformer blocks a level, none at the first; size: numbers of each of six sizes."""
    attended = len(widths) - 1
    return _linear_unet(widths, attended, context) | {
        "layers_per_block": 2 if len(widths) > 2 else 1,
        "down_block_types": ("DownBlock2D",) + ("CrossAttnDownBlock2D",) * attended,
        "up_block_types": ("CrossAttnUpBlock2D",) * attended + ("UpBlock2D",),
        "transformer_layers_per_block": depths,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": size,
        "projection_class_embeddings_input_dim": pooled + 6 * size,
        "sample_size": 128,
    }


def _text_encoder(width: int, layers: int, heads: int) -> dict[str, Any]:
    return {
        "vocab_size": 49408,
        "max_position_embeddings": 77,
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "projection_dim": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "hidden_act": "quick_gelu",
        "bos_token_id": 49406,
        "eos_token_id": 49407,
    }


def _kl(widths: tuple[int, ...], resnets: int) -> dict[str, Any]:
    return {
        "sample_size": 512,
        "block_out_channels": widths,
        "layers_per_block": resnets,
        "latent_channels": 4,
        "down_block_types": ("DownEncoderBlock2D",) * len(widths),
        "up_block_types": ("UpDecoderBlock2D",) * len(widths),
        "scaling_factor": 0.18215,
    }


def _openclip(width: int, layers: int, heads: int, projection: int) -> dict[str, Any]:
    return _text_encoder(width, layers, heads) | {
        "hidden_act": "gelu",
        "projection_dim": projection,
        "pad_token_id": 0,
    }


_TINY_UNET = _unet((32, 64, 64), attended=2, resnets=1, context=64)
_TINY_TEXT = _text_encoder(64, layers=2, heads=1)
_TINY_TAESD = {
    "encoder_block_out_channels": (32, 32, 32, 32),
    "decoder_block_out_channels": (32, 32, 32, 32),
    "num_encoder_blocks": (1, 1, 1, 1),
    "num_decoder_blocks": (1, 1, 1, 1),
    "latent_channels": 4,
}

SHAPES: dict[str, Shape] = {
    "sd15": Shape(
        _unet((320, 640, 1280, 1280), attended=3, resnets=2, context=768),
        _text_encoder(768, layers=12, heads=12),
        _kl((128, 256, 512, 512), resnets=2),
    ),
    "tiny": Shape(_TINY_UNET, _TINY_TEXT, _kl((32, 32, 64, 64), resnets=1)),
    "tiny-taesd": Shape(_TINY_UNET, _TINY_TEXT, _TINY_TAESD, taesd=True),
    "sd21": Shape(
        _linear_unet((320, 640, 1280, 1280), attended=3, context=1024),
        _openclip(1024, layers=24, heads=16, projection=1024),
        _kl((128, 256, 512, 512), resnets=2),
        preset="sd21",
    ),
    "tiny-sd2": Shape(
        _linear_unet((64, 128, 128), attended=2, context=128),
        _openclip(128, layers=3, heads=2, projection=128),
        _kl((32, 32, 64, 64), resnets=1),
        preset="sd21",
    ),
    "sdxl": Shape(
        _xl_unet((320, 640, 1280), (1, 2, 10), context=2048, pooled=1280, size=256),
        _text_encoder(768, layers=12, heads=12),
        _kl((128, 256, 512, 512), resnets=2) | {"scaling_factor": 0.13025},
        preset="sdxl",
        text_encoder_2=_openclip(1280, layers=32, heads=20, projection=1280),
    ),
    # A projection that is not square, so that one turned round shows.
    "tiny-xl": Shape(
        _xl_unet((64, 128), (1, 2), context=64 + 128, pooled=96, size=32),
        _text_encoder(64, layers=2, heads=1),
        _kl((32, 32, 64, 64), resnets=1) | {"scaling_factor": 0.13025},
        preset="sdxl",
        text_encoder_2=_openclip(128, layers=3, heads=2, projection=96),
    ),
}


def find_shape(shape: Shape | str) -> Shape:
    """A shape by its name in SHAPES; a Shape is given back as it is."""
    if isinstance(shape, Shape):
        return shape
    if shape not in SHAPES:
        raise ValueError(f"There is no shape {shape!r}; there are {', '.join(SHAPES)}.")
    return SHAPES[shape]


def construct(shape: Shape, part: str, device: str) -> nn.Module:
    """One of PARTS with whatever weights the module itself begins with."""
    with torch.device(device):
        return _construct(shape, part)


def _construct(shape: Shape, part: str) -> nn.Module:
    if part == "unet":
        return UNet2DConditionModel(**shape.unet)
    if part == "text_encoder":
        return CLIPTextModel(CLIPTextConfig(**shape.text_encoder))
    if part == "text_encoder_2":
        return CLIPTextModelWithProjection(CLIPTextConfig(**shape.text_encoder_2))
    if part == "vae":
        return (AutoencoderTiny if shape.taesd else AutoencoderKL)(**shape.vae)
    raise ValueError(f"There is no part {part!r}; there are {', '.join(PARTS)}.")


@torch.no_grad()
def _randomise(name: str, parameter: nn.Parameter, gain: float, generator: torch.Generator) -> None:
    """`gain` is the variance of a weight times its fan in."""
    layer, kind = name.rsplit(".", 2)[-2:]
    if kind == "bias":
        mean, std = 0.0, BIAS_STD
    elif parameter.dim() == 1:
        mean, std = 1.0, NORM_STD
    elif layer in EMBEDDING_STD:
        mean, std = 0.0, EMBEDDING_STD[layer]
    else:
        mean, std = 0.0, (gain * parameter.shape[0] / parameter.numel()) ** 0.5
    parameter.normal_(mean, std, generator=generator)


def build_module(shape: Shape | str, part: str, seed: int) -> nn.Module:
    """One of PARTS."""
    # The modules' own initialisation would take longer than the random weights themselves.
    module = construct(find_shape(shape), part, "meta")
    module.to_empty(device="cpu")
    gain = TAESD_GAIN if isinstance(module, AutoencoderTiny) else 1.0
    for name, parameter in module.named_parameters():
        # A checksum, since torch's generator looks at 32 bits of its seed only.
        key = zlib.crc32(f"{seed} {part}.{name}".encode())
        generator = torch.Generator().manual_seed(key)
        _randomise(name, parameter, gain, generator)
    for name, buffer in module.named_buffers():
        if name.rsplit(".", 1)[-1] != "position_ids":
            raise ValueError(f"{part}: nothing is known to fill the buffer {name!r} with.")
        buffer.copy_(torch.arange(buffer.numel()).expand_as(buffer))
    return module.requires_grad_(False).eval()


def build_modules(shape: Shape | str, seed: int, parts: Iterable[str] | None = None) -> Modules:
    """The modules named in `parts`; all that the shape has without it."""
    shape = find_shape(shape)
    wanted = shape.parts if parts is None else parts
    return Modules(**{part: build_module(shape, part, seed) for part in wanted})
