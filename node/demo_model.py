"""Load Demo Model (ZO): the package's tiny Stable Diffusions as ComfyUI's own objects."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import comfy.model_management
import comfy.model_patcher
import comfy.sd
import comfy.sd1_clip
import comfy.sdxl_clip
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


def _sd1_text(weights: Tensors) -> Tensors:
    return part(weights, "cond_stage_model.transformer.", "clip_l.transformer.")


def _xl_text(weights: Tensors) -> Tensors:
    """The host's own renaming, which takes apart what OpenCLIP stores together."""
    text = part(weights, "conditioner.", "conditioner.")
    return comfy.supported_models.SDXL(dict(XL_UNET)).process_clip_state_dict(text)


@dataclass(frozen=True)
class Kind:
    """What a demo model is made of."""

    name: str  # of model_file.FILES
    config: type  # the family, as the host describes it
    unet: dict[str, Any]
    clip: type
    tokenizer: type
    text: dict[str, tuple[int, int]]  # by text encoder, its width and layers
    text_tensors: Callable[[Tensors], Tensors]


KINDS = {
    "Stable Diffusion 1.x": Kind(
        model_file.FIRST,
        comfy.supported_models.SD15,
        SD1_UNET,
        comfy.sd1_clip.SD1ClipModel,
        comfy.sd1_clip.SD1Tokenizer,
        {"clip_l": (128, 2)},
        _sd1_text,
    ),
    "Stable Diffusion XL": Kind(
        "xl",
        comfy.supported_models.SDXL,
        XL_UNET,
        comfy.sdxl_clip.SDXLClipModel,
        comfy.sdxl_clip.SDXLTokenizer,
        {"clip_l": (64, 3), "clip_g": (128, 3)},
        _xl_text,
    ),
}
FIRST_KIND = "Stable Diffusion 1.x"

# The demo's autoencoder has fewer blocks than TAESD: which place of TAESD's each layer takes.
# A block of zeros in the places left over changes nothing: relu(0 + x) = x for x >= 0.
ENCODER_PLACES = {0: 0, 1: 1, 2: 2, 3: 3, 4: 6, 5: 7, 6: 10, 7: 11, 8: 12, 9: 14}
DECODER_PLACES = {1: 1, 3: 3, 4: 4, 6: 7, 7: 8, 9: 12, 10: 13, 12: 17, 13: 18, 14: 19}


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


def part(weights: Tensors, start: str, replacement: str = "") -> Tensors:
    """The tensors whose names start so, with that start replaced."""
    return {
        replacement + name.removeprefix(start): tensor
        for name, tensor in weights.items()
        if name.startswith(start)
    }


def load_unet(kind: Kind, weights: Tensors) -> Any:
    config = kind.config(dict(kind.unet))
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
    class Target:
        params: dict = {}
        clip = kind.clip
        tokenizer = kind.tokenizer

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
    clip = comfy.sd.CLIP(
        Target,
        embedding_directory=folder_paths.get_folder_paths("embeddings"),
        model_options=configs | {"dtype": torch.float32},
    )
    state = kind.text_tensors(weights)
    for key, (width, _) in kind.text.items():
        # CLIP's vocabulary, for vectors of this width.
        getattr(clip.tokenizer, key).embedding_size = width
        # The host's class has parts that a family may not use; their memory is uninitialised.
        state.setdefault(f"{key}.transformer.text_projection.weight", torch.eye(width))
        state.setdefault(f"{key}.logit_scale", torch.tensor(4.6055))
    clip.cond_stage_model.load_state_dict(state)
    return clip


def load_vae(weights: Tensors) -> Any:
    return comfy.sd.VAE(sd=as_taesd(part(weights, "first_stage_model.")))


def as_taesd(narrow: Tensors) -> Tensors:
    """The demo's autoencoder in TAESD's own shape, zeros in the channels and blocks that it lacks.

    The wider one computes the same."""
    reference = comfy.taesd.taesd.TAESD(latent_channels=4).state_dict()
    wide = {name: torch.zeros_like(tensor) for name, tensor in reference.items()}
    for name, tensor in narrow.items():
        place = wide[_taesd_name(name)]
        place[tuple(slice(0, size) for size in tensor.shape)] = tensor
    return wide


def _taesd_name(name: str) -> str:
    found = re.match(r"(taesd_(?:encoder|decoder))\.(\d+)\.(.+)", name)
    if found is None:
        return name
    places = ENCODER_PLACES if found[1] == "taesd_encoder" else DECODER_PLACES
    return f"{found[1]}.{places[int(found[2])]}.{found[3]}"


NODES = [LoadDemoModelZO]
