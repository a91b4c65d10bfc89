"""Stable Diffusion 1.x checkpoints with random weights, for tests and benchmarks.

    python tests/tools/make_checkpoint.py --shape sd15 --out sd15.safetensors

The models are diffusers' and transformers' own, their tensors renamed to those of the original
checkpoints. The renaming is written apart from the native one, from the structure of the modules,
so that each checks the other.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel

PARTS = ("unet", "text_encoder", "vae")
Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Shape:
    """Configurations of the three parts."""

    unet: dict
    text_encoder: dict
    vae: dict
    tiny_vae: bool = False


def _unet(channels: list[int], attended: int, resnets: int, context: int) -> dict:
    levels = len(channels)
    down = ["CrossAttnDownBlock2D"] * attended + ["DownBlock2D"] * (levels - attended)
    return {
        "block_out_channels": channels,
        "down_block_types": down,
        "up_block_types": [name.replace("Down", "Up") for name in reversed(down)],
        "layers_per_block": resnets,
        "cross_attention_dim": context,
        "attention_head_dim": 8,  # the number of heads, in this family
    }


def _text(width: int, layers: int, heads: int) -> dict:
    return {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "projection_dim": width,
        "hidden_act": "quick_gelu",
        "eos_token_id": 49407,
        "bos_token_id": 49406,
    }


def _kl(channels: list[int], resnets: int) -> dict:
    return {
        "block_out_channels": channels,
        "down_block_types": ["DownEncoderBlock2D"] * len(channels),
        "up_block_types": ["UpDecoderBlock2D"] * len(channels),
        "layers_per_block": resnets,
        "latent_channels": 4,
        "scaling_factor": 0.18215,
    }


_TINY_UNET = _unet([32, 64, 64], attended=2, resnets=1, context=64)
_TINY_VAE = {
    "encoder_block_out_channels": (32, 32, 32, 32),
    "decoder_block_out_channels": (32, 32, 32, 32),
    "num_encoder_blocks": (1, 1, 2, 1),
    "num_decoder_blocks": (2, 1, 1, 1),
    "latent_channels": 4,
    "scaling_factor": 1.0,
}
SHAPES = {
    "sd15": Shape(
        _unet([320, 640, 1280, 1280], attended=3, resnets=2, context=768),
        _text(768, 12, 12),
        _kl([128, 256, 512, 512], 2),
    ),
    "tiny": Shape(_TINY_UNET, _text(64, 3, 1), _kl([32, 32, 64, 64], 1)),
    "tiny-taesd": Shape(_TINY_UNET, _text(64, 3, 1), _TINY_VAE, tiny_vae=True),
}


@dataclass
class Modules:
    """The reference modules; those that were not asked for are None."""

    unet: UNet2DConditionModel | None = None
    text_encoder: CLIPTextModel | None = None
    vae: AutoencoderKL | AutoencoderTiny | None = None


def _fill(module: torch.nn.Module, seed: int) -> None:
    """Activations stay of order one: deviation 1/sqrt(inputs), norms about 1, small biases."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in sorted(module.named_parameters()):
        values = torch.randn(parameter.shape, generator=generator)
        if "embedding" in name and parameter.dim() == 2 and "time" not in name:
            values *= 0.02
        elif parameter.dim() >= 2:
            values *= parameter[0].numel() ** -0.5
        elif "norm" in name and name.endswith("weight"):
            values = 1 + 0.1 * values
        else:
            values *= 0.05
        parameter.data.copy_(values)
    module.eval().requires_grad_(False)


def _make(shape: Shape, part: str) -> torch.nn.Module:
    if part == "unet":
        return UNet2DConditionModel(**shape.unet)
    if part == "text_encoder":
        return CLIPTextModel(CLIPTextConfig(**shape.text_encoder))
    return AutoencoderTiny(**shape.vae) if shape.tiny_vae else AutoencoderKL(**shape.vae)


def build_modules(shape: str, seed: int, parts: tuple[str, ...] | list[str] = PARTS) -> Modules:
    """diffusers' and transformers' modules in float32 with weights that follow from the seed."""
    modules = Modules()
    for number, part in enumerate(PARTS):
        if part not in parts:
            continue
        module = _make(SHAPES[shape], part)
        _fill(module, 3 * seed + number)
        setattr(modules, part, module)
    return modules


# ------------------------------------------------------------------------- original names


def _collect(out: Tensors, module: torch.nn.Module, old: str, new: str) -> None:
    """The tensors of a submodule under its original name."""
    for name, tensor in module.get_submodule(old).state_dict().items():
        out[f"{new}.{name}"] = tensor


def _resnet(out: Tensors, module: torch.nn.Module, old: str, new: str, names: dict) -> None:
    resnet = module.get_submodule(old)
    for name, original in names.items():
        if getattr(resnet, name, None) is not None:
            _collect(out, module, f"{old}.{name}", f"{new}.{original}")


_UNET_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}


def _unet_side(out: Tensors, unet: UNet2DConditionModel, blocks: str, root: str, at: int) -> None:
    """The blocks of one side in the order they run, numbered from `at`."""
    for i, block in enumerate(getattr(unet, blocks)):
        attentions = getattr(block, "attentions", None)
        last = 0
        for j in range(len(block.resnets)):
            _resnet(out, unet, f"{blocks}.{i}.resnets.{j}", f"{root}.{at}.0", _UNET_RESNET)
            if attentions:
                _collect(out, unet, f"{blocks}.{i}.attentions.{j}", f"{root}.{at}.1")
            last = at
            at += 1
        if getattr(block, "downsamplers", None):
            _collect(out, unet, f"{blocks}.{i}.downsamplers.0.conv", f"{root}.{at}.0.op")
            at += 1
        if getattr(block, "upsamplers", None):
            place = 2 if attentions else 1
            _collect(out, unet, f"{blocks}.{i}.upsamplers.0", f"{root}.{last}.{place}")


def _unet_to_original(unet: UNet2DConditionModel) -> Tensors:
    out: Tensors = {}
    _collect(out, unet, "time_embedding.linear_1", "time_embed.0")
    _collect(out, unet, "time_embedding.linear_2", "time_embed.2")
    _collect(out, unet, "conv_in", "input_blocks.0.0")
    _unet_side(out, unet, "down_blocks", "input_blocks", 1)
    _resnet(out, unet, "mid_block.resnets.0", "middle_block.0", _UNET_RESNET)
    _collect(out, unet, "mid_block.attentions.0", "middle_block.1")
    _resnet(out, unet, "mid_block.resnets.1", "middle_block.2", _UNET_RESNET)
    _unet_side(out, unet, "up_blocks", "output_blocks", 0)
    _collect(out, unet, "conv_norm_out", "out.0")
    _collect(out, unet, "conv_out", "out.2")
    return {f"model.diffusion_model.{name}": tensor for name, tensor in out.items()}


_VAE_RESNET = {
    "norm1": "norm1",
    "conv1": "conv1",
    "norm2": "norm2",
    "conv2": "conv2",
    "conv_shortcut": "nin_shortcut",
}
_VAE_ATTENTION = {
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
}


def _kl_half(out: Tensors, vae: AutoencoderKL, half: str) -> None:
    side = "down" if half == "encoder" else "up"
    blocks = getattr(vae.get_submodule(half), f"{side}_blocks")
    for i, block in enumerate(blocks):
        level = i if half == "encoder" else len(blocks) - 1 - i
        for j in range(len(block.resnets)):
            old, new = f"{half}.{side}_blocks.{i}.resnets.{j}", f"{half}.{side}.{level}.block.{j}"
            _resnet(out, vae, old, new, _VAE_RESNET)
        if getattr(block, f"{side}samplers", None):
            old = f"{half}.{side}_blocks.{i}.{side}samplers.0.conv"
            _collect(out, vae, old, f"{half}.{side}.{level}.{side}sample.conv")
    for j in range(2):
        _resnet(out, vae, f"{half}.mid_block.resnets.{j}", f"{half}.mid.block_{j + 1}", _VAE_RESNET)
    for name, original in _VAE_ATTENTION.items():
        _collect(out, vae, f"{half}.mid_block.attentions.0.{name}", f"{half}.mid.attn_1.{original}")
    _collect(out, vae, f"{half}.conv_in", f"{half}.conv_in")
    _collect(out, vae, f"{half}.conv_norm_out", f"{half}.norm_out")
    _collect(out, vae, f"{half}.conv_out", f"{half}.conv_out")


def _kl_to_original(vae: AutoencoderKL) -> Tensors:
    out: Tensors = {}
    _kl_half(out, vae, "encoder")
    _kl_half(out, vae, "decoder")
    _collect(out, vae, "quant_conv", "quant_conv")
    _collect(out, vae, "post_quant_conv", "post_quant_conv")
    for name in out:
        # The original attention is made of 1x1 convolutions.
        if ".attn_1." in name and out[name].dim() == 2:
            out[name] = out[name][:, :, None, None]
    return out


def _tiny_to_original(vae: AutoencoderTiny) -> Tensors:
    out: Tensors = {"vae_scale": torch.tensor(0.18215), "vae_shift": torch.tensor(0.0)}
    for i, layer in enumerate(vae.encoder.layers):
        out |= {f"taesd_encoder.{i}.{name}": t for name, t in layer.state_dict().items()}
    for i, layer in enumerate(vae.decoder.layers):
        out |= {f"taesd_decoder.{i + 1}.{name}": t for name, t in layer.state_dict().items()}
    return out


def to_original(modules: Modules) -> Tensors:
    """The modules' tensors under the names of the original checkpoints."""
    out: Tensors = {}
    if modules.unet is not None:
        out |= _unet_to_original(modules.unet)
    if modules.text_encoder is not None:
        for name, tensor in modules.text_encoder.state_dict().items():
            if not name.endswith("position_ids"):
                name = name.removeprefix("text_model.")
                out[f"cond_stage_model.transformer.text_model.{name}"] = tensor
    if modules.vae is not None:
        tiny = isinstance(modules.vae, AutoencoderTiny)
        vae = _tiny_to_original(modules.vae) if tiny else _kl_to_original(modules.vae)
        out |= {f"first_stage_model.{name}": tensor for name, tensor in vae.items()}
    return out


# ------------------------------------------------------------------------------- writing


def _extras() -> Tensors:
    """What real files carry beside the weights."""
    text = "cond_stage_model.transformer.text_model.embeddings.position_ids"
    return {
        text: torch.arange(77)[None],
        "alphas_cumprod": torch.linspace(0.99, 0.01, 1000),
        "betas": torch.linspace(0.00085, 0.012, 1000),
        "model_ema.decay": torch.tensor(0.9999),
        "model_ema.num_updates": torch.tensor(7),
    }


def write_checkpoint(
    path: Path, shape: str, seed: int = 0, dtype: torch.dtype = torch.float16, extras: bool = True
) -> None:
    """A single file with original names. One part is in memory in float32 at a time."""
    out: Tensors = {}
    for part in PARTS:
        tensors = to_original(build_modules(shape, seed, [part]))
        out |= {name: tensor.to(dtype).contiguous() for name, tensor in tensors.items()}
    save_file(out | (_extras() if extras else {}), path)


def write_diffusers_folder(path: Path, shape: str, seed: int = 0) -> Modules:
    """The same weights as diffusers saves them, in float32; returns the modules."""
    modules = build_modules(shape, seed)
    for part in PARTS:
        getattr(modules, part).save_pretrained(path / part, safe_serialization=True)
    scheduler = {
        "_class_name": "DPMSolverMultistepScheduler",
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "prediction_type": "epsilon",
    }
    (path / "scheduler").mkdir(parents=True, exist_ok=True)
    (path / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
    (path / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    return modules


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shape", choices=sorted(SHAPES), default="sd15")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    write_checkpoint(arguments.out, arguments.shape, arguments.seed)


if __name__ == "__main__":
    main()
