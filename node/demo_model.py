"""Load Demo Model (ZO): the package's tiny Stable Diffusion as ComfyUI's own objects."""

from __future__ import annotations

import re
from typing import Any

import comfy.model_management
import comfy.model_patcher
import comfy.sd
import comfy.sd1_clip
import comfy.supported_models
import folder_paths
import torch
from comfy_api.latest import io
from safetensors import safe_open

from ..demo import model_file
from .schema import schema

RESOLUTION = 128  # what the model was made for
TEXT_WIDTH = 128
TEXT_HEADS = 4
UNET_HEADS = 4


class Multiple(float):
    """A channel multiplier that gives whole channels: those of the demo are 64, 96 and 160."""

    def __mul__(self, channels: int) -> int:
        return round(float(self) * channels)

    __rmul__ = __mul__


UNET_CONFIG = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 64,
    "channel_mult": [1, Multiple(1.5), Multiple(2.5)],
    "num_res_blocks": [1, 1, 1],
    "transformer_depth": [1, 1, 0],
    "transformer_depth_output": [1, 1, 1, 1, 0, 0],
    "transformer_depth_middle": 1,
    "context_dim": TEXT_WIDTH,
    "use_spatial_transformer": True,
    "use_linear_in_transformer": False,
    "adm_in_channels": None,
    "use_checkpoint": False,
    "legacy": False,
    "use_temporal_attention": False,
    "use_temporal_resblock": False,
}

TEXT_CONFIG = {
    "hidden_size": TEXT_WIDTH,
    "intermediate_size": 4 * TEXT_WIDTH,
    "num_attention_heads": TEXT_HEADS,
    "num_hidden_layers": 2,
    "projection_dim": TEXT_WIDTH,
}

# The demo's autoencoder has fewer blocks than TAESD: which place of TAESD's each layer takes.
# A block of zeros in the places left over changes nothing: relu(0 + x) = x for x >= 0.
ENCODER_PLACES = {0: 0, 1: 1, 2: 2, 3: 3, 4: 6, 5: 7, 6: 10, 7: 11, 8: 12, 9: 14}
DECODER_PLACES = {1: 1, 3: 3, 4: 4, 6: 7, 7: 8, 9: 12, 10: 13, 12: 17, 13: 18, 14: 19}


class LoadDemoModelZO(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="LoadDemoModelZO",
            display_name="Load Demo Model (ZO)",
            category="ZOODiP",
            description="A tiny text-to-image model of the Stable Diffusion 1.x family that comes "
            "with ZOODiP. It draws simple scenes of 128 x 128 pixels and learns a word in about a "
            "minute on a processor, so that everything can be tried without a download.",
            inputs=[],
            outputs=[
                io.Model.Output(display_name="model", tooltip="The UNet."),
                io.Clip.Output(display_name="clip", tooltip="The text encoder, with CLIP's words."),
                io.Vae.Output(display_name="vae", tooltip="The autoencoder."),
            ],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        with torch.inference_mode(False):
            weights = read_weights()
            return io.NodeOutput(load_unet(weights), load_clip(weights), load_vae(weights))


def read_weights() -> dict[str, torch.Tensor]:
    """The checkpoint's tensors, float32."""
    try:
        path = model_file.unpack()
    except (model_file.CannotUnpack, OSError) as error:
        raise RuntimeError(f"the demo model cannot be unpacked: {error}") from error
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118


def part(weights: dict[str, torch.Tensor], start: str, replacement: str = "") -> dict:
    """The tensors whose names start so, with that start replaced."""
    return {
        replacement + name.removeprefix(start): tensor
        for name, tensor in weights.items()
        if name.startswith(start)
    }


def load_unet(weights: dict[str, torch.Tensor]) -> Any:
    config = comfy.supported_models.SD15(dict(UNET_CONFIG))
    config.set_inference_dtype(torch.float32, None)
    config.unet_config["num_heads"] = UNET_HEADS  # the family's class has put 8 there
    config.zoodip_resolution = RESOLUTION
    device = comfy.model_management.get_torch_device()
    model = config.get_model({}, "", device=torch.device("cpu"))
    model.diffusion_model.load_state_dict(part(weights, "model.diffusion_model."))
    return comfy.model_patcher.ModelPatcher(
        model, load_device=device, offload_device=comfy.model_management.unet_offload_device()
    )


class DemoTokenizer(comfy.sd1_clip.SDTokenizer):
    """CLIP's vocabulary, for vectors of the demo model's width."""

    def __init__(self, embedding_directory=None, tokenizer_data=None, **kwargs):
        super().__init__(
            embedding_directory=embedding_directory,
            tokenizer_data=tokenizer_data or {},
            embedding_size=TEXT_WIDTH,
            **kwargs,
        )


class ClipTarget:
    params: dict = {}
    clip = comfy.sd1_clip.SD1ClipModel
    tokenizer = comfy.sd1_clip.SD1Tokenizer


def load_clip(weights: dict[str, torch.Tensor]) -> Any:
    clip = comfy.sd.CLIP(
        ClipTarget,
        embedding_directory=folder_paths.get_folder_paths("embeddings"),
        tokenizer_data={"clip_l_tokenizer_class": DemoTokenizer},
        model_options={"clip_l_model_config": dict(TEXT_CONFIG), "dtype": torch.float32},
    )
    state = part(weights, "cond_stage_model.transformer.", "clip_l.transformer.")
    # ComfyUI's class has a projection that this family does not use; its memory is uninitialised.
    projection = torch.eye(TEXT_WIDTH)
    state["clip_l.transformer.text_projection.weight"] = projection
    state["clip_l.logit_scale"] = torch.tensor(4.6055)
    clip.cond_stage_model.load_state_dict(state)
    return clip


def load_vae(weights: dict[str, torch.Tensor]) -> Any:
    return comfy.sd.VAE(sd=as_taesd(part(weights, "first_stage_model.")))


def as_taesd(narrow: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
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
