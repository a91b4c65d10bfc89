"""Names of diffusers and transformers modules in the original layout of Stable Diffusion files.

The original layout is that of CompVis' latent-diffusion: `model.diffusion_model.*` (UNet),
`cond_stage_model.transformer.text_model.*` (text encoder) and `first_stage_model.*` (autoencoder).
Stable Diffusion 2.x keeps OpenCLIP's own names under `cond_stage_model.model.*`, XL has two text
encoders, under `conditioner.embedders.0.transformer.text_model.*` and, in OpenCLIP's names, under
`conditioner.embedders.1.model.*`.
A TAESD has the layout that ComfyUI gives it: `first_stage_model.taesd_encoder.*` and
`first_stage_model.taesd_decoder.*`.

Each function takes the state dict of one module and gives the same tensors under original names.
It raises ValueError for a name that it does not know.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import torch
from torch import Tensor

StateDict = dict[str, Tensor]

UNET = "model.diffusion_model."
TEXT = "cond_stage_model.transformer.text_model."
SD2_TEXT = "cond_stage_model.model."
XL_TEXT = "conditioner.embedders.0.transformer.text_model."
XL_TEXT_2 = "conditioner.embedders.1.model."
VAE = "first_stage_model."


def taesd_scalars(latent_scale: float) -> dict[str, float]:
    """ComfyUI's scalars of a TAESD: latent = taesd(picture) / vae_scale + vae_shift before the
    family's own factor `latent_scale`, so that what the UNet sees is what the TAESD gives."""
    return {"vae_scale": latent_scale, "vae_shift": 0.0}


_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}

_UNET_ENDS = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}

_VAE_ATTENTION = {
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
}

_BLOCK = re.compile(
    r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)"
)


def _unknown(part: str, name: str) -> ValueError:
    return ValueError(f"{part}: {name!r} has no place in the original layout.")


def _rename(state: StateDict, rename: Callable[[str], str]) -> StateDict:
    renamed = {rename(name): tensor for name, tensor in state.items()}
    if len(renamed) != len(state):
        raise ValueError(f"{len(state)} tensors have only {len(renamed)} different original names.")
    return renamed


def _count(state: StateDict, pattern: str) -> int:
    """How many different numbers the one group of `pattern` takes at the start of a name."""
    found = (re.match(pattern, name) for name in state)
    return len({match[1] for match in found if match})


def _unet_resnet(rest: str) -> str:
    layer, kind = rest.rsplit(".", 1)
    return f"{_RESNET[layer]}.{kind}"


def unet_to_original(state: StateDict) -> StateDict:
    """A UNet2DConditionModel of the SD kind."""
    resnets = _count(state, r"down_blocks\.0\.resnets\.(\d+)\.")
    # On the way down a level is its resnets and a downsampler, after the one block of conv_in; on
    # the way up it is one resnet more, and the upsampler stands in the block of the last of them.
    stride = resnets + 1

    def block(side: str, level: int, kind: str, index: int, rest: str) -> str:
        if kind == "downsamplers":
            return f"input_blocks.{(level + 1) * stride}.0.op.{rest.removeprefix('conv.')}"
        if kind == "upsamplers":
            place = 2 if f"up_blocks.{level}.attentions.0.norm.weight" in state else 1
            return f"output_blocks.{level * stride + resnets}.{place}.{rest}"
        number = level * stride + index
        root = f"input_blocks.{number + 1}" if side == "down" else f"output_blocks.{number}"
        return f"{root}.0.{_unet_resnet(rest)}" if kind == "resnets" else f"{root}.1.{rest}"

    def rename(name: str) -> str:
        if match := _BLOCK.fullmatch(name):
            side, level, kind, index, rest = match.groups()
            return UNET + block(side, int(level), kind, int(index), rest)
        if match := re.fullmatch(r"mid_block\.resnets\.([01])\.(.+)", name):
            return f"{UNET}middle_block.{2 * int(match[1])}.{_unet_resnet(match[2])}"
        if match := re.fullmatch(r"mid_block\.attentions\.0\.(.+)", name):
            return f"{UNET}middle_block.1.{match[1]}"
        layer, kind = name.rsplit(".", 1)
        if layer not in _UNET_ENDS:
            raise _unknown("UNet", name)
        return f"{UNET}{_UNET_ENDS[layer]}.{kind}"

    return _rename(state, rename)


def _kl_name(name: str, levels: int) -> str:
    if name.startswith(("quant_conv.", "post_quant_conv.")):
        return name
    half, rest = name.split(".", 1)
    if match := _BLOCK.fullmatch(rest):
        side, level, kind, index, layer = match.groups()
        # The original decoder counts its levels from the finest, diffusers from the coarsest.
        number = int(level) if side == "down" else levels - 1 - int(level)
        if kind == "resnets":
            layer = layer.replace("conv_shortcut", "nin_shortcut")
            return f"{half}.{side}.{number}.block.{index}.{layer}"
        return f"{half}.{side}.{number}.{side}sample.{layer}"
    if match := re.fullmatch(r"mid_block\.resnets\.([01])\.(.+)", rest):
        return f"{half}.mid.block_{int(match[1]) + 1}.{match[2]}"
    if match := re.fullmatch(r"mid_block\.attentions\.0\.(.+)\.(weight|bias)", rest):
        return f"{half}.mid.attn_1.{_VAE_ATTENTION[match[1]]}.{match[2]}"
    if match := re.fullmatch(r"(conv_in|conv_out|conv_norm_out)\.(weight|bias)", rest):
        return f"{half}.{match[1].replace('conv_norm_out', 'norm_out')}.{match[2]}"
    raise _unknown("AutoencoderKL", name)


def kl_to_original(state: StateDict) -> StateDict:
    """An AutoencoderKL. Its attention is linear here and a 1x1 convolution in original files."""
    levels = _count(state, r"decoder\.up_blocks\.(\d+)\.")
    renamed = _rename(state, lambda name: VAE + _kl_name(name, levels))
    attention_weight = re.compile(r".*\.mid\.attn_1\.(q|k|v|proj_out)\.weight")
    return {
        name: tensor[:, :, None, None] if attention_weight.fullmatch(name) else tensor
        for name, tensor in renamed.items()
    }


def taesd_to_original(state: StateDict) -> StateDict:
    """An AutoencoderTiny. The original decoder starts with a clamp that diffusers does apart."""

    def rename(name: str) -> str:
        match = re.fullmatch(r"(encoder|decoder)\.layers\.(\d+)\.(.+)", name)
        if not match:
            raise _unknown("AutoencoderTiny", name)
        index = int(match[2]) + (match[1] == "decoder")
        return f"{VAE}taesd_{match[1]}.{index}.{match[3]}"

    return _rename(state, rename)


def text_to_original(state: StateDict, root: str = TEXT) -> StateDict:
    """A CLIPTextModel; transformers before version 5 has `text_model.` in front of each name."""
    return _rename(state, lambda name: root + name.removeprefix("text_model."))


_OPENCLIP = (
    ("embeddings.position_embedding.weight", "positional_embedding"),
    ("embeddings.token_embedding.", "token_embedding."),
    ("final_layer_norm.", "ln_final."),
    ("encoder.layers.", "transformer.resblocks."),
    (".layer_norm1.", ".ln_1."),
    (".layer_norm2.", ".ln_2."),
    (".self_attn.out_proj.", ".attn.out_proj."),
    (".mlp.fc1.", ".mlp.c_fc."),
    (".mlp.fc2.", ".mlp.c_proj."),
)


def text_to_openclip(state: StateDict, root: str) -> StateDict:
    """A CLIPTextModel, with or without its projection, in the names of OpenCLIP: queries, keys and
    values of an attention are one tensor there, and a projection is stored turned round."""
    renamed: StateDict = {}
    for name, tensor in state.items():
        inner = name.removeprefix("text_model.")
        if inner == "text_projection.weight":
            renamed[root + "text_projection"] = tensor.t().contiguous()
            continue
        if match := re.fullmatch(
            r"(encoder\.layers\.\d+)\.self_attn\.q_proj\.(weight|bias)", inner
        ):
            layer, kind = match.groups()
            start = name.removesuffix(f"q_proj.{kind}")
            parts = [state[f"{start}{one}_proj.{kind}"] for one in "qkv"]
            layer = layer.replace("encoder.layers.", "transformer.resblocks.")
            renamed[f"{root}{layer}.attn.in_proj_{kind}"] = torch.cat(parts)
            continue
        if re.search(r"\.self_attn\.[kv]_proj\.", inner):
            continue
        for there, here in _OPENCLIP:
            inner = inner.replace(there, here)
        renamed[root + inner] = tensor
    return renamed
