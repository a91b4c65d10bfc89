"""Load Demo Model (ZO): the package's tiny Stable Diffusions as ComfyUI's own objects."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import comfy.model_management
import comfy.model_patcher
import comfy.sd
import comfy.supported_models
import folder_paths
import torch
from comfy_api.latest import io
from safetensors import safe_open

from ..demo import model_file
from .schema import schema

RESOLUTION = 128  # what the models were made for
HEADS = 4  # of UNets and text encoders

Tensors = dict[str, torch.Tensor]


class Multiple(float):
    """A channel multiplier that gives whole channels: 1.5 times 64 are 96."""

    def __mul__(self, channels: int) -> int:
        return round(float(self) * channels)

    __rmul__ = __mul__


COMMON_CONFIG = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 64,
    "num_res_blocks": [1, 1, 1],
    "transformer_depth_middle": 1,
    "use_spatial_transformer": True,
    "use_checkpoint": False,
    "legacy": False,
    "use_temporal_attention": False,
    "use_temporal_resblock": False,
}
SD1_UNET = COMMON_CONFIG | {
    "channel_mult": [1, Multiple(1.5), Multiple(2.5)],
    "transformer_depth": [1, 1, 0],
    "transformer_depth_output": [1, 1, 1, 1, 0, 0],
    "context_dim": 128,
    "use_linear_in_transformer": False,
    "adm_in_channels": None,
}
XL_UNET = COMMON_CONFIG | {
    "channel_mult": [1, Multiple(1.5), 2],
    "transformer_depth": [0, 1, 1],
    "transformer_depth_output": [0, 0, 1, 1, 1, 1],
    "context_dim": 64 + 128,
    "use_linear_in_transformer": True,
    "num_classes": "sequential",
    "adm_in_channels": 128 + 6 * 256,
}


@dataclass(frozen=True)
class Kind:
    """What a demo model is made of."""

    name: str  # of model_file.FILES
    family: type  # as the host describes it
    unet: dict[str, Any]
    text: dict[str, tuple[int, int]]  # by text encoder, its width and layers


SD15, SDXL = comfy.supported_models.SD15, comfy.supported_models.SDXL
KINDS = {
    "Stable Diffusion 1.x": Kind(model_file.FIRST, SD15, SD1_UNET, {"clip_l": (128, 2)}),
    "Stable Diffusion XL": Kind("xl", SDXL, XL_UNET, {"clip_l": (64, 3), "clip_g": (128, 3)}),
}
FIRST_KIND = "Stable Diffusion 1.x"

# The demo's autoencoder has fewer blocks than TAESD: which place of TAESD's each layer takes.
# A block of zeros in the places left over changes nothing: relu(0 + x) = x for x >= 0.
PLACES = {
    "taesd_encoder": {0: 0, 1: 1, 2: 2, 3: 3, 4: 6, 5: 7, 6: 10, 7: 11, 8: 12, 9: 14},
    "taesd_decoder": {1: 1, 3: 3, 4: 4, 6: 7, 7: 8, 9: 12, 10: 13, 12: 17, 13: 18, 14: 19},
}


class LoadDemoModelZO(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "LoadDemoModelZO",
            # Optional, as graphs of earlier versions do not have it.
            [io.Combo.Input("family", options=list(KINDS), default=FIRST_KIND, optional=True)],
            [io.Model.Output(), io.Clip.Output(), io.Vae.Output()],
        )

    @classmethod
    def execute(cls, family: str = FIRST_KIND) -> io.NodeOutput:
        with torch.inference_mode(False):
            kind = KINDS[family]
            weights = read_weights(kind.name)
            return io.NodeOutput(
                load_unet(kind, weights), load_clip(kind, weights), load_vae(weights)
            )


def read_weights(name: str) -> Tensors:
    """The checkpoint's tensors, float32."""
    try:
        path = model_file.unpack(name)
    except (model_file.CannotUnpack, OSError) as error:
        raise RuntimeError(f"the demo model cannot be unpacked: {error}") from error
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118


def part(weights: Tensors, start: str) -> Tensors:
    """The tensors whose names start so, without that start."""
    return {n.removeprefix(start): t for n, t in weights.items() if n.startswith(start)}


def load_unet(kind: Kind, weights: Tensors) -> Any:
    config = kind.family(dict(kind.unet))
    config.set_inference_dtype(torch.float32, None)
    # What the family's class has put there, by which published models count their heads.
    config.unet_config |= {"num_heads": HEADS, "num_head_channels": -1}
    config.zoodip_resolution = RESOLUTION
    device = comfy.model_management.get_torch_device()
    # The weights tell which prediction this is.
    model = config.get_model(weights, "", device=torch.device("cpu"))
    model.diffusion_model.load_state_dict(part(weights, "model.diffusion_model."))
    return comfy.model_patcher.ModelPatcher(
        model, load_device=device, offload_device=comfy.model_management.unet_offload_device()
    )


def load_clip(kind: Kind, weights: Tensors) -> Any:
    configs = {
        f"{key}_model_config": {
            "hidden_size": width,
            "intermediate_size": 4 * width,
            "num_attention_heads": HEADS,
            "num_hidden_layers": layers,
            "projection_dim": width,
        }
        for key, (width, layers) in kind.text.items()
    }
    family = kind.family(dict(kind.unet))
    clip = comfy.sd.CLIP(
        family.clip_target(),
        embedding_directory=folder_paths.get_folder_paths("embeddings"),
        model_options=configs | {"dtype": torch.float32},
    )
    # The host's own renaming, which takes apart what OpenCLIP stores together.
    state = family.process_clip_state_dict(dict(weights))
    for key, (width, _) in kind.text.items():
        # CLIP's vocabulary, for vectors of this width.
        getattr(clip.tokenizer, key).embedding_size = width
        # The host's class has parts that a family may not use; their memory is uninitialised.
        state.setdefault(f"{key}.transformer.text_projection.weight", torch.eye(width))
        state.setdefault(f"{key}.logit_scale", torch.tensor(4.6055))
    clip.cond_stage_model.load_state_dict(state)
    return clip


def load_vae(weights: Tensors) -> Any:
    """The demo's autoencoder in TAESD's own shape, zeros in the channels and blocks that it lacks.

    The wider one computes the same."""
    reference = comfy.taesd.taesd.TAESD(latent_channels=4).state_dict()
    wide = {name: torch.zeros_like(tensor) for name, tensor in reference.items()}
    for name, tensor in part(weights, "first_stage_model.").items():
        found = re.match(r"(taesd_encoder|taesd_decoder)\.(\d+)\.(.+)", name)
        if found is not None:
            name = f"{found[1]}.{PLACES[found[1]][int(found[2])]}.{found[3]}"
        wide[name][tuple(slice(0, size) for size in tensor.shape)] = tensor
    return comfy.sd.VAE(sd=wide)


NODES = [LoadDemoModelZO]
