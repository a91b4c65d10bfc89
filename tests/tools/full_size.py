"""A Stable Diffusion 1.5 checkpoint of full size with random weights, and a LoRA for it.

Needs torch alone, so that a ComfyUI's Python can write it: names and shapes are those of original
checkpoints, spelt out here. `make_checkpoint` has the same model from diffusers.
"""

import json
import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import torch

UNET = "model.diffusion_model"
TEXT = "cond_stage_model.transformer.text_model"
VAE = "first_stage_model"

CHANNELS = (320, 640, 1280, 1280)  # of the UNet's levels; all but the last have attention
TIME, CONTEXT = 1280, 768
TEXT_LAYERS, WORDS, POSITIONS = 12, 49408, 77
VAE_CHANNELS = (128, 256, 512, 512)
LATENT = 4

Shapes = Iterator[tuple[str, tuple[int, ...]]]


def shapes() -> dict[str, tuple[int, ...]]:
    """Name -> shape of all 1 130 tensors."""
    return dict([*_unet(), *_text(), *_vae()])


def _layer(name: str, *shape: int, bias: bool = True) -> Shapes:
    """A Linear, a convolution or, of one size, a norm."""
    yield f"{name}.weight", shape
    if bias:
        yield f"{name}.bias", shape[:1]


def _conv(name: str, inputs: int, outputs: int, side: int = 3) -> Shapes:
    yield from _layer(name, outputs, inputs, side, side)


def _unet() -> Shapes:
    yield from _layer(f"{UNET}.time_embed.0", TIME, CHANNELS[0])
    yield from _layer(f"{UNET}.time_embed.2", TIME, TIME)
    yield from _conv(f"{UNET}.input_blocks.0.0", LATENT, CHANNELS[0])
    skips, width = [CHANNELS[0]], CHANNELS[0]
    for level, channels in enumerate(CHANNELS):
        for _ in range(2):
            yield from _block(f"{UNET}.input_blocks.{len(skips)}", width, channels, level < 3)
            width = channels
            skips.append(width)
        if level < 3:
            yield from _conv(f"{UNET}.input_blocks.{len(skips)}.0.op", width, width)
            skips.append(width)
    yield from _block(f"{UNET}.middle_block", width, width, True)
    yield from _residual(f"{UNET}.middle_block.2", width, width)
    for i in range(12):
        level = 3 - i // 3
        name = f"{UNET}.output_blocks.{i}"
        yield from _block(name, width + skips.pop(), CHANNELS[level], level < 3)
        width = CHANNELS[level]
        if i % 3 == 2 and level > 0:
            yield from _conv(f"{name}.{2 if level < 3 else 1}.conv", width, width)
    yield from _layer(f"{UNET}.out.0", width)
    yield from _conv(f"{UNET}.out.2", width, LATENT)


def _block(name: str, inputs: int, outputs: int, attention: bool) -> Shapes:
    yield from _residual(f"{name}.0", inputs, outputs)
    if attention:
        yield from _transformer(f"{name}.1", outputs)


def _residual(name: str, inputs: int, outputs: int) -> Shapes:
    yield from _layer(f"{name}.in_layers.0", inputs)
    yield from _conv(f"{name}.in_layers.2", inputs, outputs)
    yield from _layer(f"{name}.emb_layers.1", outputs, TIME)
    yield from _layer(f"{name}.out_layers.0", outputs)
    yield from _conv(f"{name}.out_layers.3", outputs, outputs)
    if inputs != outputs:
        yield from _conv(f"{name}.skip_connection", inputs, outputs, 1)


def _transformer(name: str, width: int) -> Shapes:
    yield from _layer(f"{name}.norm", width)
    yield from _conv(f"{name}.proj_in", width, width, 1)
    block = f"{name}.transformer_blocks.0"
    for attention, context in (("attn1", width), ("attn2", CONTEXT)):
        for part, inputs in (("to_q", width), ("to_k", context), ("to_v", context)):
            yield from _layer(f"{block}.{attention}.{part}", width, inputs, bias=False)
        yield from _layer(f"{block}.{attention}.to_out.0", width, width)
    yield from _layer(f"{block}.ff.net.0.proj", 8 * width, width)
    yield from _layer(f"{block}.ff.net.2", width, 4 * width)
    for norm in ("norm1", "norm2", "norm3"):
        yield from _layer(f"{block}.{norm}", width)
    yield from _conv(f"{name}.proj_out", width, width, 1)


def _text() -> Shapes:
    yield f"{TEXT}.embeddings.token_embedding.weight", (WORDS, CONTEXT)
    yield f"{TEXT}.embeddings.position_embedding.weight", (POSITIONS, CONTEXT)
    for i in range(TEXT_LAYERS):
        layer = f"{TEXT}.encoder.layers.{i}"
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            yield from _layer(f"{layer}.self_attn.{part}", CONTEXT, CONTEXT)
        yield from _layer(f"{layer}.mlp.fc1", 4 * CONTEXT, CONTEXT)
        yield from _layer(f"{layer}.mlp.fc2", CONTEXT, 4 * CONTEXT)
        for norm in ("layer_norm1", "layer_norm2"):
            yield from _layer(f"{layer}.{norm}", CONTEXT)
    yield from _layer(f"{TEXT}.final_layer_norm", CONTEXT)


def _vae() -> Shapes:
    wide = VAE_CHANNELS[-1]
    encoder, decoder = f"{VAE}.encoder", f"{VAE}.decoder"
    yield from _conv(f"{encoder}.conv_in", 3, VAE_CHANNELS[0])
    width = VAE_CHANNELS[0]
    for level, channels in enumerate(VAE_CHANNELS):
        for i in range(2):
            yield from _vae_residual(f"{encoder}.down.{level}.block.{i}", width, channels)
            width = channels
        if level < 3:
            yield from _conv(f"{encoder}.down.{level}.downsample.conv", width, width)
    yield from _vae_middle(encoder, wide, 2 * LATENT)
    yield from _conv(f"{decoder}.conv_in", LATENT, wide)
    for level in (3, 2, 1, 0):
        for i in range(3):
            channels = VAE_CHANNELS[level]
            yield from _vae_residual(f"{decoder}.up.{level}.block.{i}", width, channels)
            width = channels
        if level > 0:
            yield from _conv(f"{decoder}.up.{level}.upsample.conv", width, width)
    yield from _vae_middle(decoder, wide, 3, out=width)
    yield from _conv(f"{VAE}.quant_conv", 2 * LATENT, 2 * LATENT, 1)
    yield from _conv(f"{VAE}.post_quant_conv", LATENT, LATENT, 1)


def _vae_residual(name: str, inputs: int, outputs: int) -> Shapes:
    yield from _layer(f"{name}.norm1", inputs)
    yield from _conv(f"{name}.conv1", inputs, outputs)
    yield from _layer(f"{name}.norm2", outputs)
    yield from _conv(f"{name}.conv2", outputs, outputs)
    if inputs != outputs:
        yield from _conv(f"{name}.nin_shortcut", inputs, outputs, 1)


def _vae_middle(name: str, width: int, outputs: int, out: int | None = None) -> Shapes:
    """The middle and the end of a half; `out`: the width of its last level."""
    for i in (1, 2):
        yield from _vae_residual(f"{name}.mid.block_{i}", width, width)
    yield from _layer(f"{name}.mid.attn_1.norm", width)
    for part in ("q", "k", "v", "proj_out"):
        yield from _conv(f"{name}.mid.attn_1.{part}", width, width, 1)
    yield from _layer(f"{name}.norm_out", out or width)
    yield from _conv(f"{name}.conv_out", out or width, outputs)


class _Random:
    """Weights from one pool of normal numbers, begun at a place that follows from the name: drawing
    a billion of them would take longer than the tests."""

    def __init__(self, seed: int, size: int = 1 << 23) -> None:
        generator = torch.Generator().manual_seed(seed)
        self._pool = torch.randn(size, generator=generator)

    def tensor(self, name: str, shape: tuple[int, ...]) -> torch.Tensor:
        """float16. Variance 1 / fan in keeps activations of order one; norms lie near one."""
        count = math.prod(shape)
        repeats = -(-count // self._pool.numel())
        numbers = self._pool if repeats == 1 else self._pool.repeat(repeats)
        start = zlib.crc32(name.encode()) % (numbers.numel() - count + 1)
        numbers = numbers[start : start + count].reshape(shape)
        if len(shape) > 1:
            std = 0.02 if "embedding" in name else math.prod(shape[1:]) ** -0.5
            return (numbers * std).half()
        mean, std = (1.0, 0.1) if name.endswith(".weight") else (0.0, 0.05)
        return (numbers * std + mean).half()


def _write(path: Path, names: dict[str, tuple[int, ...]], seed: int) -> None:
    """A safetensors file, one tensor in memory at a time."""
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in names.items():
        start, end = end, end + 2 * math.prod(shape)
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    numbers = _Random(seed)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, shape in names.items():
            file.write(numbers.tensor(name, shape).numpy().tobytes())


def write_checkpoint(path: Path, seed: int = 0) -> None:
    """2.1 GB of float16."""
    _write(path, shapes(), seed)


def write_lora(path: Path, seed: int = 1, rank: int = 4) -> None:
    """As kohya's scripts name it: some layers of the UNet and of the text encoder."""
    layers = {
        "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k": (320, CONTEXT),
        "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q": (1280, 1280),
        "lora_te_text_model_encoder_layers_3_mlp_fc1": (4 * CONTEXT, CONTEXT),
    }
    names = {}
    for layer, (outputs, inputs) in layers.items():
        names[f"{layer}.lora_up.weight"] = (outputs, rank)
        names[f"{layer}.lora_down.weight"] = (rank, inputs)
    _write(path, names, seed)
