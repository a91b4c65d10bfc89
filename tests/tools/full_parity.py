"""Text encoders and UNet of a family's published shape against transformers and diffusers, once.

    .venv/bin/python tests/tools/full_parity.py --shape sd21|sdxl [--side 32]

Random weights in float16, of which both sides make float32. One part is in memory at a time: the
reference's pass first, then ours from the file; the UNet of XL takes 11 GB and as much of a disk
for a while. The tests hold small shapes to the same bound.
"""

from __future__ import annotations

import argparse
import gc
import resource
import sys
import tempfile
from pathlib import Path

import torch
from make_checkpoint import to_original
from random_modules import SHAPES, Modules, Shape, build_module
from safetensors.torch import save_file
from zoodip import _native

BOUND = 1e-4  # of the largest number: sums in another order, some hundred layers in a row
IDS = [49406, 320, 1125, 539, 320, 1929, 49407]
TIMESTEP = 500


def halved(module: torch.nn.Module) -> torch.nn.Module:
    """The numbers of its weights as a file of float16 holds them."""
    for tensor in [*module.parameters()]:
        tensor.data = tensor.data.half().float()
    return module


def to_file(part: str, module: torch.nn.Module, shape: Shape, folder: Path) -> Path:
    tensors = to_original(Modules(**{part: module}), shape.preset)
    path = folder / f"{part}.safetensors"
    save_file({name: tensor.half() for name, tensor in tensors.items()}, path)
    return path


def told(what: str, ours: torch.Tensor, reference: torch.Tensor) -> bool:
    error = ((ours - reference).abs().max() / reference.abs().max()).item()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{what}: largest error {error:.1e} of the scale; peak {peak:.1f} GB", flush=True)
    return error <= BOUND


def compare_text(part: str, index: int, shape: Shape, folder: Path) -> bool:
    module = halved(build_module(shape, part, seed=3))
    pad = 0 if module.config.hidden_act == "gelu" else 49407
    ids = torch.tensor([IDS + [49407] * (77 - len(IDS))])
    padded = torch.tensor([IDS + [pad] * (77 - len(IDS))])
    with torch.no_grad():
        output = module(padded, output_hidden_states=True)
        states = output.hidden_states[-2]
        if shape.preset == "sd21":
            norm = next(m for n, m in module.named_modules() if n.endswith("final_layer_norm"))
            states = norm(states)
    pooled = getattr(output, "text_embeds", None)
    path = to_file(part, module, shape, folder)
    del module, output
    gc.collect()
    own = _native.TextEncoder(
        _native.open_weights(path),
        weights="dense",
        preset=shape.preset,
        index=index,
    )
    hidden, own_pooled = own.forward(ids)
    path.unlink()
    fine = told(f"{part}, states", hidden, states)
    if own_pooled is not None:
        fine = told(f"{part}, pooled", own_pooled, pooled) and fine
    return fine


def compare_unet(shape: Shape, side: int, folder: Path) -> bool:
    module = halved(build_module(shape, "unet", seed=3))
    generator = torch.Generator().manual_seed(2)
    sample = torch.randn(1, 4, side, side, generator=generator)
    context = torch.randn(1, 77, module.config.cross_attention_dim, generator=generator)
    added, y = {}, None
    if module.config.addition_embed_type == "text_time":
        width = module.config.addition_time_embed_dim
        pooled = torch.randn(
            1, module.config.projection_class_embeddings_input_dim - 6 * width, generator=generator
        )
        sizes = torch.tensor([[8.0 * side, 8.0 * side, 0, 0, 8.0 * side, 8.0 * side]])
        added = {"text_embeds": pooled, "time_ids": sizes}
        with torch.no_grad():
            y = torch.cat([pooled, module.add_time_proj(sizes[0]).reshape(1, -1)], 1)
    with torch.no_grad():
        expected = module(sample, torch.tensor([TIMESTEP]), context, added_cond_kwargs=added).sample
    path = to_file("unet", module, shape, folder)
    del module
    gc.collect()
    own = _native.UNet(
        _native.open_weights(path),
        weights="dense",
        compute="fp32",
        head_width=64,
    )
    ours = own.forward(sample, torch.tensor([float(TIMESTEP)]), context, y)
    path.unlink()
    return told(f"UNet at {8 * side} pixels", ours, expected)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=("sd21", "sdxl", "tiny-sd2", "tiny-xl"), default="sdxl")
    parser.add_argument("--side", type=int, default=32, help="of the latents")
    options = parser.parse_args()
    shape = SHAPES[options.shape]
    with tempfile.TemporaryDirectory() as folder:
        parts = [part for part in shape.parts if part.startswith("text_encoder")]
        fine = [compare_text(part, i, shape, Path(folder)) for i, part in enumerate(parts)]
        fine.append(compare_unet(shape, options.side, Path(folder)))
    return 0 if all(fine) else 1


if __name__ == "__main__":
    sys.exit(main())
