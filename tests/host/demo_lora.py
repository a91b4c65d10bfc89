"""A random LoRA of the demo model, where ComfyUI lists it."""

import re

import numpy as np
import torch
from comfy import REPOSITORY, Comfy
from safetensors import safe_open
from safetensors.torch import save_file

CHECKPOINT = REPOSITORY / "demo" / "model" / "zoodip-demo.safetensors"


def lora_file(comfy: Comfy, name: str, seed: int) -> str:
    """A LoRA of the demo model's attention and text layers, named as other tools name them."""
    with safe_open(CHECKPOINT, "pt") as file:
        shapes = {key: file.get_slice(key).get_shape() for key in file.keys()}  # noqa: SIM118
    generator = np.random.default_rng(seed)
    tensors = {}
    for key, shape in shapes.items():
        stem = _stem(key) if len(shape) == 2 else None
        if stem is not None:
            tensors[f"{stem}.lora_up.weight"] = _random(generator, shape[0], 4)
            tensors[f"{stem}.lora_down.weight"] = _random(generator, 4, shape[1])
    path = comfy.base / "models" / "loras" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path)
    return name


def _stem(key: str) -> str | None:
    """ComfyUI finds UNet layers by their own names, text layers by kohya's."""
    found = re.fullmatch(
        r"(?:cond_stage_model\.transformer|model\.diffusion_model)\.(.*)\.weight", key
    )
    if found is None or "embedding" in key:
        return None
    if "text_model" in key:
        return "lora_te_" + found[1].replace(".", "_")
    return "diffusion_model." + found[1] if "attn2" in key else None


def _random(generator, rows: int, columns: int) -> torch.Tensor:
    return torch.from_numpy(generator.standard_normal((rows, columns)).astype("float32")) * 0.05
