"""Writes a trained demo model as one checkpoint, packed for the repository, or as a diffusers
folder.

    python -m demo.export [--model sd1|xl] [--work build/demo] [--diffusers DIR]
"""

from __future__ import annotations

import argparse
import json
import lzma
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from diffusers import (
    AutoencoderTiny,
    DDIMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import CLIPTokenizer

from .model_file import FILES
from .networks import (
    KINDS,
    SD1,
    UNET_HEADS,
    VOCABULARY,
    DemoKind,
    TextEncoders,
    breed_rows,
    build_autoencoder,
    build_unet,
)
from .original_names import (
    TEXT,
    VAE,
    XL_TEXT,
    XL_TEXT_2,
    StateDict,
    taesd_scalars,
    taesd_to_original,
    text_to_openclip,
    text_to_original,
    unet_to_original,
)
from .tokenizer import build_tokenizer
from .training_scenes import work_folder
from .words import breed_ids, vocabulary_ids
from .world import SIZE

if TYPE_CHECKING:
    from .train_model import TextAndUNet


@dataclass
class Parts:
    """float32 modules in evaluation mode."""

    kind: DemoKind
    text: TextEncoders
    unet: UNet2DConditionModel
    autoencoder: AutoencoderTiny

    def modules(self) -> tuple[nn.Module, ...]:
        return self.text, self.unet, self.autoencoder


def _fill_tables(kind: DemoKind, training: TextAndUNet) -> TextEncoders:
    """The text encoders with their whole tables; rows of words that never occurred are zero."""
    state, tables = training.text.state_dict(), []
    text = TextEncoders(kind)
    for one, vocabulary in zip(kind.texts, training.text.tables(), strict=True):
        table = torch.nn.Embedding.from_pretrained(torch.zeros(VOCABULARY, one.width))
        table.weight[vocabulary_ids(one.padding)] = vocabulary.rows.weight.detach()
        for word, row in breed_rows(vocabulary).items():
            table.weight[breed_ids()[word]] = row
        tables.append(table)
    text.load_state_dict(
        {name: value for name, value in state.items() if "token_embedding." not in name},
        strict=False,
    )
    text.set_tables(tables)
    return text


def load_trained(kind: DemoKind, work: Path) -> Parts:
    """What `demo.train_model` left: the moving average, which draws better than the last step."""
    from .train_model import TextAndUNet

    training = TextAndUNet(kind)
    training.load_state_dict(torch.load(work / "model.pt")["average"])
    if kind is SD1:
        autoencoder = build_autoencoder()
        autoencoder.load_state_dict(torch.load(work / "autoencoder.pt")["model"])
    else:
        autoencoder = load_checkpoint(SD1).autoencoder
    parts = Parts(kind, _fill_tables(kind, training), training.unet, autoencoder)
    for module in parts.modules():
        module.requires_grad_(False).eval()
    return parts


def _text_to_original(kind: DemoKind) -> list[Callable[[StateDict], StateDict]]:
    """How the tensors of each text encoder are named in a file."""
    if len(kind.texts) == 1:
        return [lambda state: text_to_original(state, TEXT)]
    return [
        lambda state: text_to_original(state, XL_TEXT),
        lambda state: text_to_openclip(state, XL_TEXT_2),
    ]


def to_checkpoint(parts: Parts) -> StateDict:
    """fp16 under original names."""
    kind = parts.kind
    tensors = unet_to_original(parts.unet.state_dict())
    for encoder, renamed in zip(parts.text.encoders, _text_to_original(kind), strict=True):
        tensors |= renamed(encoder.state_dict())
    tensors |= taesd_to_original(parts.autoencoder.state_dict())
    halves = {name: tensor.half().contiguous() for name, tensor in tensors.items()}
    scalars = taesd_scalars(kind.latent_scale)
    halves |= {VAE + name: torch.tensor(value) for name, value in scalars.items()}
    # As models that predict v with nothing left of the picture at the end mark themselves.
    marks = {"v_pred": kind.schedule.predicts_v, "ztsnr": kind.schedule.zero_snr}
    return halves | {name: torch.tensor([]) for name, there in marks.items() if there}


def metadata(kind: DemoKind) -> dict[str, str]:
    heads = {
        "zoodip.text_heads" + ("" if i == 0 else f"_{i + 1}"): str(text.heads)
        for i, text in enumerate(kind.texts)
    }
    return heads | {
        "format": "pt",
        "modelspec.title": kind.title,
        "modelspec.architecture": kind.architecture,
        "modelspec.license": "Apache-2.0",
        "zoodip.unet_heads": str(UNET_HEADS),
        "zoodip.resolution": str(SIZE),
    }


def _load(module: nn.Module, to_names: Callable[[StateDict], StateDict], stored: StateDict) -> None:
    """Takes a module's tensors from a file through the same renaming that wrote them. Where it
    joins or turns tensors their shapes tell nothing, so that each element's own number goes through
    it."""
    numbers, places = {}, 0
    for name, tensor in module.state_dict().items():
        count = tensor.numel()
        numbers[name] = torch.arange(places, places + count).view(tensor.shape)
        places += count
    flat = torch.empty(places)
    for name, number in to_names(numbers).items():
        flat[number.flatten()] = stored[name].flatten()
    module.load_state_dict({name: flat[number] for name, number in numbers.items()})


def load_checkpoint(kind: DemoKind = SD1, path: Path | None = None) -> Parts:
    """A demo checkpoint's float32 modules; that of the repository without a path."""
    stored = {
        name: tensor.float()
        for name, tensor in load_file(path or FILES[kind.name].unpack()).items()
    }
    parts = Parts(kind, TextEncoders(kind), build_unet(kind), build_autoencoder())
    _load(parts.unet, unet_to_original, stored)
    for encoder, to_names in zip(parts.text.encoders, _text_to_original(kind), strict=True):
        _load(encoder, to_names, stored)
    _load(parts.autoencoder, taesd_to_original, stored)
    for module in parts.modules():
        module.requires_grad_(False).eval()
    return parts


def write_checkpoint(parts: Parts, path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    staging = path.with_suffix(".partial")
    save_file(to_checkpoint(parts), staging, metadata=metadata(parts.kind))
    os.replace(staging, path)


def pack(path: Path, packed: Path) -> None:
    """xz; high and low bytes of the fp16 numbers apart pack no better than as they are."""
    staging = packed.with_suffix(".partial")
    staging.write_bytes(lzma.compress(path.read_bytes(), preset=9 | lzma.PRESET_EXTREME))
    os.replace(staging, packed)


def write_diffusers_folder(parts: Parts, tokenizer: CLIPTokenizer, folder: Path) -> None:
    scheduler = DDIMScheduler(**parts.kind.schedule.in_diffusers())
    common = {
        "vae": parts.autoencoder,
        "text_encoder": parts.text.encoders[0],
        "tokenizer": tokenizer,
        "unet": parts.unet,
        "scheduler": scheduler,
    }
    if len(parts.text.encoders) == 1:
        pipeline = StableDiffusionPipeline(
            **common, safety_checker=None, feature_extractor=None, requires_safety_checker=False
        )
    else:
        pipeline = StableDiffusionXLPipeline(
            **common,
            text_encoder_2=parts.text.encoders[1],
            tokenizer_2=build_tokenizer(padding="!"),
            force_zeros_for_empty_prompt=False,
            add_watermarker=False,
        )
    pipeline.save_pretrained(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=FILES, default=SD1.name, help="default: %(default)s")
    parser.add_argument("--work", type=Path, help="default: build/demo, or build/demo-xl")
    parser.add_argument("--diffusers", type=Path, help="write the shipped model as this folder")
    options = parser.parse_args()
    kind, file = KINDS[options.model], FILES[options.model]
    if options.diffusers is not None:
        write_diffusers_folder(load_checkpoint(kind), build_tokenizer(), options.diffusers)
        return
    parts = load_trained(kind, options.work or work_folder(kind.name))
    write_checkpoint(parts, file.path)
    pack(file.path, file.packed)
    print(json.dumps({str(p): p.stat().st_size for p in (file.path, file.packed)}, indent=2))


if __name__ == "__main__":
    main()
