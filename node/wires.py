"""What the MODEL, CLIP and VAE wires hold, as the engine takes weights: one tensor at a time, under
the names of original checkpoints, with the patches of LoRA loaders merged in.

Knows ComfyUI's objects by their attributes alone, so that it can be tested without it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from .native import graph
from .wire_changes import Settle, WireError, check_clip, check_model, check_vae

# calculate_weight(patches, weight, key) -> weight: ComfyUI's comfy.lora.calculate_weight.
Merge = Callable[[list, torch.Tensor, str], torch.Tensor]

UNET = "model.diffusion_model."
VAE = "first_stage_model."

REMEDY = "Wire a model of Stable Diffusion 1.x, 2.x or XL"

# EDM is a V_PREDICTION, LCM and X0 are an EPS, of which they change the meaning.
_OTHER_SAMPLINGS = ("EDM", "LCM", "X0", "IMG_TO_IMG", "CONST", "COSMOS_RFLOW")
_OTHER_SAMPLINGS += ("ModelSamplingContinuousEDM", "StableCascadeSampling")
_OTHER_SAMPLINGS += ("ModelSamplingDiscreteDistilled",)


@dataclass
class WiredTensor:
    """A tensor of the host's with what is to be done to it."""

    stored: torch.Tensor
    merged: Callable[[], torch.Tensor] | None = None
    """Makes the tensor with its patches, float32; None where it has none."""

    def __post_init__(self) -> None:
        # As it is read: the host's tensor may be parked in another type.
        self.dtype = self.stored.dtype

    def get(self) -> torch.Tensor:
        """A tensor outside of inference mode, on any device."""
        with torch.inference_mode(False), torch.no_grad():
            if self.merged is not None:
                value = self.merged()
            else:
                value = self.stored.detach().to(self.dtype)
            return value.detach().clone() if value.is_inference() else value.detach()

    def samples(self, count: int = 257) -> bytes:
        """Evenly spread elements: a LoRA or a fine-tune changes nearly all of a tensor's. Copies no
        more than those."""
        with torch.no_grad():
            flat = (self.stored if self.merged is None else self.merged()).reshape(-1)
            if flat.numel() > count:
                # In integers: float32 cannot count the elements of a tensor with more than 2^24.
                places = torch.arange(count) * (flat.numel() - 1) // (count - 1)
                flat = flat[places.to(flat.device)]
            return flat.to("cpu", torch.float32).numpy().tobytes()


@dataclass
class WiredModel:
    """All that the engine needs to know of the three wires."""

    merge: Merge
    tensors: dict[str, WiredTensor] = field(default_factory=dict)
    """By name, as original checkpoints have it."""
    metadata: dict[str, str] = field(default_factory=dict)
    alphas_cumprod: list[float] = field(default_factory=list)
    prediction: str = "epsilon"
    clip_skip: int = 1
    kinds: list[str] = field(default_factory=list)
    """The classes that compute: another one may make something else of the same weights."""

    def add(self, key_patches: dict, wire: str, rename: Callable[[str], str]) -> None:
        """Adds what a ModelPatcher's `get_key_patches` gives: key -> [(weight, convert), *patches].

        rename: a key -> as original checkpoints have it.
        """
        for key, ((weight, convert), *patches) in key_patches.items():
            name = rename(key)
            if _is_int8(weight, wire, key) and not patches:
                self.tensors[name] = WiredTensor(weight._qdata)
                self.tensors[f"{name}_scale"] = WiredTensor(weight._params.scale)
            else:
                make = partial(_merged, self.merge, weight, convert, patches, key)
                self.tensors[name] = WiredTensor(weight, make if patches else None)

    def weights(self) -> Any:
        """As zoodip.graph.Weights."""
        listed = [(name, tuple(t.stored.shape), t.dtype) for name, t in self.tensors.items()]
        return graph().Weights(
            "the wired model", listed, lambda name: self.tensors[name].get(), self.metadata
        )

    def digest(self) -> str:
        """64 hexadecimal digits of names, shapes and samples of all weights as merged, of the
        schedule, the prediction, the clip skip and the classes: what decides what is learned."""
        hashed = hashlib.sha256()
        for name in sorted(self.tensors):
            tensor = self.tensors[name]
            hashed.update(f"{name} {tuple(tensor.stored.shape)} {tensor.dtype}".encode())
            hashed.update(tensor.samples())
        rest = (sorted(self.metadata.items()), self.alphas_cumprod, self.prediction, self.clip_skip)
        hashed.update(repr((*rest, self.kinds)).encode())
        return hashed.hexdigest()


def read_wires(
    model: Any, clip: Any, vae: Any, merge: Merge, settle: Settle = lambda patcher: None
) -> WiredModel:
    """Raises WireError for what cannot be trained on, by name."""
    # Of a checkpoint without one the host makes a VAE around nothing.
    decoder = None if vae is None else vae.first_stage_model
    for name, wire in (("MODEL", model), ("CLIP", clip), ("VAE", decoder)):
        if wire is None:
            raise WireError(
                f"{name}: is empty; the checkpoint that it comes from has none. Load it separately"
            )
    if not hasattr(model.model.diffusion_model, "input_blocks"):
        raise WireError(
            f"MODEL: is {type(model.model.model_config).__name__}, a family that is not supported. "
            f"{REMEDY}"
        )
    wired = WiredModel(merge)
    check_model(model, settle)
    _read_model(wired, model)
    family = wired_family(clip)
    _check_same_family(model, family)
    check_clip(clip, settle)
    _read_clip(wired, clip, family)
    _check_autoencoder(vae)
    check_vae(vae, settle)
    _read_vae(wired, model, vae)
    return wired


def digest_of_patched(clip: Any, merge: Merge, settle: Settle) -> str:
    """As `WiredModel.digest`, of a CLIP alone; "" where it has no patches.

    Raises WireError as `read_wires`.
    """
    wired = WiredModel(merge)
    family = wired_family(clip)
    check_clip(clip, settle)
    _read_clip(wired, clip, family)
    patched = any(tensor.merged is not None for tensor in wired.tensors.values())
    return wired.digest() if patched else ""


# MODEL


def _read_model(wired: WiredModel, model: Any) -> None:
    wired.kinds += [type(model.model).__qualname__]
    start = "diffusion_model."
    wired.add(key_patches(model, start), "MODEL", lambda key: UNET + key.removeprefix(start))
    unet = model.model.diffusion_model
    if unet.num_heads > 0:
        wired.metadata["zoodip.unet_heads"] = str(unet.num_heads)
    else:
        wired.metadata["zoodip.unet_head_width"] = str(unet.num_head_channels)
    if getattr(unet, "middle_block", True) is None:  # pruned, and whole without it
        wired.metadata["zoodip.unet_middle"] = "false"
    # Not by getattr: ComfyUI's configurations answer what they do not have with a warning.
    resolution = vars(model.model.model_config).get("zoodip_resolution")
    if resolution is not None:
        wired.metadata["zoodip.resolution"] = str(resolution)
    _read_sampling(wired, model.get_model_object("model_sampling"))


def _read_sampling(wired: WiredModel, sampling: Any) -> None:
    kinds = [kind.__name__ for kind in type(sampling).__mro__]
    other = next((kind for kind in _OTHER_SAMPLINGS if kind in kinds), "")
    known = "EPS" in kinds and hasattr(sampling, "sigmas")
    if other or not known:
        raise WireError(
            f"MODEL: its sampling is {other or kinds[0]}; eps and v_prediction can be trained on. "
            "Wire the model before the node that changes it"
        )
    wired.prediction = "v" if "V_PREDICTION" in kinds else "epsilon"
    sigmas = sampling.sigmas.to("cpu", torch.float64)
    if sigmas.numel() != 1000:
        raise WireError(
            f"MODEL: its schedule has {sigmas.numel()} timesteps, expected 1000. {REMEDY}"
        )
    wired.alphas_cumprod = (1 / (sigmas**2 + 1)).tolist()


# CLIP


def wired_family(clip: Any) -> Any:
    """zoodip.graph.Family that has the text encoders of a CLIP. Raises WireError for others."""
    parts = [*vars(clip.cond_stage_model)["_modules"]]
    family = graph().family_with(parts)
    if family is not None:
        return family
    families = "; ".join(
        f"{family.name} has {' and '.join(encoder.key for encoder in family.encoders)}"
        for family in reversed(graph().families())
    )
    raise WireError(
        f"CLIP: holds {' and '.join(parts) or 'no text encoder'}. {families}. Wire the CLIP of "
        "such a checkpoint, with all its text encoders"
    )


def _check_same_family(model: Any, family: Any) -> None:
    takes_vector = getattr(model.model.diffusion_model, "label_emb", None) is not None
    if takes_vector != family.vector_conditioning:
        raise WireError(
            f"MODEL and CLIP: are of different families. The CLIP is that of {family.name}, whose "
            f"UNet takes {'a' if family.vector_conditioning else 'no'} vector beside the text, and "
            f"this MODEL takes {'one' if takes_vector else 'none'}. Wire both from one checkpoint"
        )


def _read_clip(wired: WiredModel, clip: Any, family: Any) -> None:
    wired.kinds += [type(clip).__qualname__, type(clip.cond_stage_model).__qualname__]
    wired.clip_skip = clip_skip_of(clip)
    for index, encoder in enumerate(family.encoders):
        # Of the metadata that is about this one.
        suffix = "" if index == 0 else f"_{index + 1}"
        _read_encoder(wired, clip, encoder, suffix)


def _read_encoder(wired: WiredModel, clip: Any, encoder: Any, suffix: str) -> None:
    start = f"{encoder.key}.transformer."
    model, projection = f"{start}text_model.", f"{start}text_projection.weight"

    def rename(key: str) -> str:
        if key == projection:
            return encoder.projection
        return encoder.root + key.removeprefix(model)

    wanted = {
        key: value
        for key, value in key_patches(clip.patcher, start).items()
        if key.startswith(model) or (encoder.pooled and key == projection)
    }
    wired.add(wanted, "CLIP", rename)
    module = getattr(clip.cond_stage_model, encoder.key)
    layers = module.transformer.text_model.encoder.layers
    wired.metadata[f"zoodip.text_heads{suffix}"] = str(layers[0].self_attn.heads)
    if encoder.activation != "quick_gelu":
        wired.metadata[f"zoodip.text_activation{suffix}"] = encoder.activation
    if encoder.layer > 1:
        # A clip skip may take a later one than the family's own, which the settings cannot say.
        layer = min(encoder.layer, wired.clip_skip)
        wired.metadata[f"zoodip.text_layer{suffix}"] = str(layer)


def clip_skip_of(clip: Any) -> int:
    """1 for the last layer, 2 for the one before, as the wire's CLIPSetLastLayer has chosen."""
    encoder = getattr(clip.cond_stage_model, wired_family(clip).encoders[0].key)
    layers = encoder.num_layers
    index = clip.layer_idx
    if index is None:
        layer, index, *_ = encoder.options_default
        index = None if layer == "last" else index
    if index is None or abs(index) > layers:  # ComfyUI takes the last layer then
        return 1
    return -index if index < 0 else layers - index


# VAE


# Where it shows how many channels latents have, as the decoder takes them.
_LATENTS = ("decoder.conv_in.weight", "taesd_decoder.1.weight")
_CHANNELS, _SIDE = 4, 8  # of latents, and the pixels of theirs


def _check_autoencoder(vae: Any) -> None:
    state = vae.first_stage_model.state_dict()
    weight = next((state[name] for name in _LATENTS if name in state), None)
    if weight is None:
        other = ""
    elif weight.ndim != 4 or vae.latent_dim != 2:
        other = " for video"
    elif weight.shape[1] != _CHANNELS:
        other = f" with latents of {weight.shape[1]} channels in place of {_CHANNELS}"
    elif vae.downscale_ratio != _SIDE:
        other = f" with latents of {vae.downscale_ratio} pixels a side in place of {_SIDE}"
    else:
        return
    raise WireError(
        f"VAE: is {type(vae.first_stage_model).__name__}{other}, which is not supported. Wire the "
        "VAE of a Stable Diffusion checkpoint, or TAESD"
    )


def _read_vae(wired: WiredModel, model: Any, vae: Any) -> None:
    first = vae.first_stage_model
    wired.kinds += [type(vae).__qualname__, type(first).__qualname__]
    wired.add(key_patches(vae.patcher), "VAE", lambda key: VAE + key)
    scale = float(model.model.latent_format.scale_factor)
    if hasattr(first, "taesd_encoder"):
        scale /= first.vae_scale.item()
    wired.metadata["zoodip.latent_scale"] = repr(scale)


# Tensors

# What the state of a layer that is quantised already holds beside its weight and bias.
_DESCRIPTION = ".comfy_quant"
_OF_QUANTISED = (_DESCRIPTION, ".weight_scale", ".input_scale")


def key_patches(patcher: Any, start: str = "") -> dict:
    """ModelPatcher.get_key_patches, which does not know layers that are quantised already."""
    state = patcher.model_state_dict()
    if not any(key.startswith(start) and key.endswith(_DESCRIPTION) for key in state):
        return patcher.get_key_patches(start)
    found = {}
    for key in state:
        if not key.startswith(start) or key.endswith(_OF_QUANTISED):
            continue
        module, _, name = key.rpartition(".")
        layer = patcher.model.get_submodule(module)
        kept = patcher.backup.get(key)  # where a load has merged patches into the layer's own
        weight = getattr(layer, name) if kept is None else kept.weight
        convert = getattr(layer, f"convert_{name}", lambda weight, **_: weight)
        found[key] = [(weight, convert), *patcher.patches.get(key, [])]
    return found


def _merged(
    merge: Merge, weight: torch.Tensor, convert: Callable, patches: list, key: str
) -> torch.Tensor:
    plain = weight.dequantize() if hasattr(weight, "_layout_cls") else weight
    # A copy: merging writes into what it is given.
    return merge(patches, convert(plain.to(torch.float32, copy=True), inplace=True), key)


def _is_int8(weight: torch.Tensor, wire: str, key: str) -> bool:
    """Whether ComfyUI has a weight in `int8_tensorwise`. Raises WireError, by name, for what is
    rotated, and for what somebody else has quantised."""
    kind = type(weight)
    if getattr(weight, "_layout_cls", None) == "TensorWiseINT8Layout":
        if getattr(weight._params, "convrot", False):
            raise WireError(
                f"{wire}: holds weights that were rotated before they were quantised ('{key}', "
                "convrot); the engine reads int8_tensorwise without it. Load a checkpoint in that, "
                "or in fp16, bf16 or fp32"
            )
        return True
    if kind not in (torch.Tensor, torch.nn.Parameter):
        what = f"{kind.__name__} weights"
    elif weight.is_meta:
        what = "weights without numbers"
    elif "float8" in str(weight.dtype):
        what = f"{str(weight.dtype).removeprefix('torch.')} weights"
    else:
        return False
    raise WireError(
        f"{wire}: holds {what} ('{key}'); the engine quantises by itself, and needs fp16, bf16, "
        "fp32 or int8_tensorwise. Load the checkpoint with its own weights"
    )
