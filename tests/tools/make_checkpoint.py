"""Writes random-weight Stable Diffusion models: original checkpoints and diffusers folders.

Usage: python tests/tools/make_checkpoint.py --shape sd15 --out sd15.safetensors [--seed 0]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from importlib.metadata import version
from pathlib import Path

import torch
from diffusers import AutoencoderTiny, DDIMScheduler
from random_modules import PARTS, SHAPES, Modules, Shape, build_modules, find_shape
from safetensors.torch import save_file

sys.path.append(str(Path(__file__).resolve().parents[2]))

from demo.original_names import (  # noqa: E402
    SD2_TEXT,
    TEXT,
    VAE,
    XL_TEXT,
    XL_TEXT_2,
    StateDict,
    kl_to_original,
    taesd_scalars,
    taesd_to_original,
    text_to_openclip,
    text_to_original,
    unet_to_original,
)
from demo.schedule import SCHEDULE, betas  # noqa: E402

__all__ = [
    "PARTS",
    "SCHEDULE",
    "SHAPES",
    "Modules",
    "Shape",
    "build_modules",
    "to_original",
    "write_checkpoint",
    "write_diffusers_folder",
]


def _text_to_original(module: torch.nn.Module, preset: str) -> StateDict:
    state = module.state_dict()
    if preset == "sd21":
        return text_to_openclip(state, SD2_TEXT)
    return text_to_original(state, XL_TEXT if preset == "sdxl" else TEXT)


def to_original(modules: Modules, preset: str = "sd15") -> StateDict:
    """The tensors of the modules under original names of the family with this preset, sharing the
    modules' memory where a name alone changes."""
    tensors: StateDict = {}
    if modules.unet is not None:
        tensors |= unet_to_original(modules.unet.state_dict())
    if modules.text_encoder is not None:
        tensors |= _text_to_original(modules.text_encoder, preset)
    if modules.text_encoder_2 is not None:
        tensors |= text_to_openclip(modules.text_encoder_2.state_dict(), XL_TEXT_2)
    if isinstance(modules.vae, AutoencoderTiny):
        tensors |= taesd_to_original(modules.vae.state_dict())
        tensors |= {
            VAE + name: torch.tensor(value) for name, value in taesd_scalars(0.18215).items()
        }
    elif modules.vae is not None:
        tensors |= kl_to_original(modules.vae.state_dict())
    return tensors


def _schedule_buffers() -> StateDict:
    """The buffers of latent-diffusion's DDPM, float32 [1000]."""
    steps = betas()
    alphas = 1 - steps
    product = alphas.cumprod(0)
    previous = torch.cat([torch.ones(1, dtype=torch.float64), product[:-1]])
    variance = steps * (1 - previous) / (1 - product)
    buffers = {
        "betas": steps,
        "alphas_cumprod": product,
        "alphas_cumprod_prev": previous,
        "sqrt_alphas_cumprod": product.sqrt(),
        "sqrt_one_minus_alphas_cumprod": (1 - product).sqrt(),
        "log_one_minus_alphas_cumprod": (1 - product).log(),
        "sqrt_recip_alphas_cumprod": (1 / product).sqrt(),
        "sqrt_recipm1_alphas_cumprod": (1 / product - 1).sqrt(),
        "posterior_variance": variance,
        "posterior_log_variance_clipped": variance.clamp(min=1e-20).log(),
        "posterior_mean_coef1": steps * previous.sqrt() / (1 - product),
        "posterior_mean_coef2": (1 - previous) * alphas.sqrt() / (1 - product),
    }
    return {name: buffer.float() for name, buffer in buffers.items()}


def _extras(tensors: StateDict) -> StateDict:
    """What real files hold besides the weights, and a reader has to pass over."""
    averaged = "model.diffusion_model.input_blocks.0.0.weight"
    # The moving average's names are those of the weights without their dots. It is half the weight
    # here, so that a reader that takes it by mistake shows.
    name = averaged.removeprefix("model.").replace(".", "")
    extras = _schedule_buffers() | {
        f"model_ema.{name}": tensors[averaged] / 2,
        "model_ema.decay": torch.tensor(0.9999),
        "model_ema.num_updates": torch.tensor(470000, dtype=torch.int32),
    }
    table = tensors.get(TEXT + "embeddings.position_embedding.weight")
    if table is not None:
        extras[TEXT + "embeddings.position_ids"] = torch.arange(table.shape[0])[None]
    for root in (SD2_TEXT, XL_TEXT_2):
        if root + "positional_embedding" in tensors:
            extras[root + "logit_scale"] = torch.tensor(4.6055)
    return extras


def _staging(path: Path) -> Path:
    """Where something is written before it takes its place as a whole."""
    return path.with_name(path.name + ".partial")


def write_checkpoint(
    path: Path | str,
    shape: Shape | str,
    seed: int = 0,
    dtype: torch.dtype = torch.float16,
    extras: bool = True,
) -> None:
    """Writes one safetensors file under original names.

    One part is built at a time, so the peak of memory is the float32 UNet beside the finished
    tensors. The scalars of a TAESD and the extras keep the types of real files.
    """
    path, shape = Path(path), find_shape(shape)
    tensors: StateDict = {}
    for part in shape.parts:
        original = to_original(build_modules(shape, seed, [part]), shape.preset)
        tensors |= {
            name: tensor.to(dtype) if tensor.dim() else tensor for name, tensor in original.items()
        }
        del original
    if extras:
        tensors |= _extras(tensors)
    staging = _staging(path)
    try:
        save_file(tensors, staging, metadata={"format": "pt"})
        os.replace(staging, path)
    finally:
        staging.unlink(missing_ok=True)


def _model_index(shape: Shape) -> dict[str, object]:
    second = {}
    if shape.text_encoder_2 is not None:
        second = {
            "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
            "tokenizer_2": [None, None],
        }
    return second | {
        "_class_name": f"StableDiffusion{'XL' if second else ''}Pipeline",
        "_diffusers_version": version("diffusers"),
        "feature_extractor": [None, None],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": [None, None],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderTiny" if shape.taesd else "AutoencoderKL"],
    }


def write_diffusers_folder(
    path: Path | str, shape: Shape | str, seed: int = 0, dtype: torch.dtype = torch.float32
) -> None:
    """Writes the same weights as diffusers saves them, without a tokenizer.

    Raises FileExistsError where something lies at `path` already.
    """
    path, shape = Path(path), find_shape(shape)
    if path.exists():
        raise FileExistsError(f"{path} exists already; give the path of a new folder.")
    staging = _staging(path)
    staging.mkdir(parents=True)
    try:
        for part in shape.parts:
            module = getattr(build_modules(shape, seed, [part]), part)
            for tensor in module.parameters():
                tensor.data = tensor.data.to(dtype)
            module.save_pretrained(staging / part, safe_serialization=True)
            del module
        DDIMScheduler(**SCHEDULE).save_pretrained(staging / "scheduler")
        index = json.dumps(_model_index(shape), indent=2) + "\n"
        (staging / "model_index.json").write_text(index, encoding="utf-8")
        os.replace(staging, path)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, default="tiny", help="default: %(default)s")
    parser.add_argument("--out", type=Path, required=True, help="the file or folder to write")
    parser.add_argument(
        "--form",
        choices=("checkpoint", "diffusers"),
        default="checkpoint",
        help="one .safetensors file, or a folder of diffusers, in float16; default: %(default)s",
    )
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    options = parser.parse_args()
    if options.form == "diffusers":
        write_diffusers_folder(options.out, options.shape, options.seed, torch.float16)
    else:
        write_checkpoint(options.out, options.shape, options.seed)


if __name__ == "__main__":
    main()
