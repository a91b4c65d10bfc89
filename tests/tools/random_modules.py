"""Stable Diffusion 1.x modules of diffusers and transformers with random weights from a seed.

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
from transformers import CLIPTextConfig, CLIPTextModel

PARTS = ("unet", "text_encoder", "vae")

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


@dataclass
class Modules:
    """float32, in evaluation mode, on the CPU; None for a part that was not asked for."""

    unet: UNet2DConditionModel | None = None
    text_encoder: CLIPTextModel | None = None
    vae: AutoencoderKL | AutoencoderTiny | None = None


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


def build_modules(shape: Shape | str, seed: int, parts: Iterable[str] = PARTS) -> Modules:
    """The modules named in `parts`."""
    shape = find_shape(shape)
    return Modules(**{part: build_module(shape, part, seed) for part in parts})
