"""Writes the trained demo model as one checkpoint, packed for the repository, or as a diffusers
folder.

    python -m demo.export [--work build/demo] [--diffusers DIR]
"""

from __future__ import annotations

import argparse
import json
import lzma
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderTiny, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel, CLIPTokenizer

from .model_file import MODEL, PACKED, unpack
from .networks import (
    TEXT_HEADS,
    UNET_HEADS,
    VOCABULARY,
    breed_rows,
    build_autoencoder,
    build_text_encoder,
    build_unet,
)
from .original_names import (
    TAESD_SCALARS,
    VAE,
    taesd_to_original,
    text_to_original,
    unet_to_original,
)
from .schedule import SCHEDULE
from .tokenizer import build_tokenizer
from .train_model import TextToNoise
from .words import breed_ids, vocabulary_ids
from .world import SIZE

METADATA = {
    "format": "pt",
    "modelspec.title": "ZOODiP demo model",
    "modelspec.architecture": "stable-diffusion-v1",
    "modelspec.license": "Apache-2.0",
    "zoodip.unet_heads": str(UNET_HEADS),
    "zoodip.text_heads": str(TEXT_HEADS),
    "zoodip.resolution": str(SIZE),
}


@dataclass
class Parts:
    """float32 modules in evaluation mode."""

    text_encoder: CLIPTextModel
    unet: UNet2DConditionModel
    autoencoder: AutoencoderTiny


def _fill_table(training: TextToNoise) -> CLIPTextModel:
    """The text encoder with the whole table; rows of words that never occurred are zero."""
    vocabulary = training.text.embeddings.token_embedding
    state = training.text.state_dict()
    table = torch.zeros(VOCABULARY, vocabulary.rows.embedding_dim)
    table[vocabulary_ids()] = vocabulary.rows.weight.detach()
    for word, row in breed_rows(vocabulary).items():
        table[breed_ids()[word]] = row
    prefix = "embeddings.token_embedding."
    weights = {name: value for name, value in state.items() if not name.startswith(prefix)}
    text = build_text_encoder()
    text.load_state_dict(weights | {prefix + "weight": table})
    return text


def load_trained(work: Path) -> Parts:
    """What `demo.train_model` left: the moving average, which draws better than the last step."""
    training = TextToNoise()
    training.load_state_dict(torch.load(work / "model.pt")["average"])
    autoencoder = build_autoencoder()
    autoencoder.load_state_dict(torch.load(work / "autoencoder.pt")["model"])
    parts = Parts(_fill_table(training), training.unet, autoencoder)
    for module in vars(parts).values():
        module.requires_grad_(False).eval()
    return parts


def to_checkpoint(parts: Parts) -> dict[str, torch.Tensor]:
    """fp16 under original names."""
    tensors = unet_to_original(parts.unet.state_dict())
    tensors |= text_to_original(parts.text_encoder.state_dict())
    tensors |= taesd_to_original(parts.autoencoder.state_dict())
    halves = {name: tensor.half().contiguous() for name, tensor in tensors.items()}
    return halves | {VAE + name: torch.tensor(value) for name, value in TAESD_SCALARS.items()}


def load_checkpoint(path: Path = MODEL) -> Parts:
    """The demo checkpoint's float32 modules."""
    stored = {name: tensor.float() for name, tensor in load_file(path).items()}
    parts = Parts(build_text_encoder(), build_unet(), build_autoencoder())
    for module, names in (
        (parts.unet, unet_to_original),
        (parts.text_encoder, text_to_original),
        (parts.autoencoder, taesd_to_original),
    ):
        original = names({name: torch.tensor(i) for i, name in enumerate(module.state_dict())})
        mine = list(module.state_dict())
        module.load_state_dict({mine[int(i)]: stored[name] for name, i in original.items()})
        module.requires_grad_(False).eval()
    return parts


def write_checkpoint(parts: Parts, path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    staging = path.with_suffix(".partial")
    save_file(to_checkpoint(parts), staging, metadata=METADATA)
    os.replace(staging, path)


def pack(path: Path, packed: Path) -> None:
    """xz; high and low bytes of the fp16 numbers apart pack no better than as they are."""
    staging = packed.with_suffix(".partial")
    staging.write_bytes(lzma.compress(path.read_bytes(), preset=9 | lzma.PRESET_EXTREME))
    os.replace(staging, packed)


def write_diffusers_folder(parts: Parts, tokenizer: CLIPTokenizer, folder: Path) -> None:
    StableDiffusionPipeline(
        vae=parts.autoencoder,
        text_encoder=parts.text_encoder,
        tokenizer=tokenizer,
        unet=parts.unet,
        scheduler=DDIMScheduler(**SCHEDULE),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("build/demo"))
    parser.add_argument("--diffusers", type=Path, help="write the shipped model as this folder")
    options = parser.parse_args()
    if options.diffusers is not None:
        write_diffusers_folder(load_checkpoint(unpack()), build_tokenizer(), options.diffusers)
        return
    parts = load_trained(options.work)
    write_checkpoint(parts, MODEL)
    pack(MODEL, PACKED)
    print(json.dumps({str(p): p.stat().st_size for p in (MODEL, PACKED)}, indent=2))


if __name__ == "__main__":
    main()
