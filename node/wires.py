"""What the MODEL, CLIP and VAE wires hold, as the engine takes weights: one tensor at a time, under
the names of original checkpoints, with the patches of LoRA loaders merged in.

Knows ComfyUI's objects by their attributes alone, so that it can be tested without it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
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
_OTHER_SAMPLINGS = (
    "EDM",
    "LCM",
    "X0",
    "IMG_TO_IMG",
    "CONST",
    "COSMOS_RFLOW",
    "ModelSamplingContinuousEDM",
    "StableCascadeSampling",
    "ModelSamplingDiscreteDistilled",
)


@dataclass
class WiredTensor:
    """A tensor of the host's with what is to be done to it."""

    name: str
    """As original checkpoints call it."""
    stored: torch.Tensor
    merged: Callable[[], torch.Tensor] | None = None
    """The tensor with its patches, float32; None where it has none."""

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

    def samples(self) -> bytes:
        """Of elements all over the tensor; copies no more than those."""
        with torch.no_grad():
            return _samples(self.stored if self.merged is None else self.merged())


@dataclass
class WiredModel:
    """All that the engine needs to know of the three wires."""

    tensors: dict[str, WiredTensor] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    alphas_cumprod: list[float] = field(default_factory=list)
    prediction: str = "epsilon"
    clip_skip: int = 1
    kinds: list[str] = field(default_factory=list)
    """The classes that compute: another one may make something else of the same weights."""

    def weights(self) -> Any:
        """As zoodip.graph.Weights."""
        listed = [
            (name, tuple(tensor.stored.shape), tensor.dtype)
            for name, tensor in self.tensors.items()
        ]
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


def _samples(tensor: torch.Tensor, count: int = 257) -> bytes:
    """Evenly spread elements: a LoRA or a fine-tune changes nearly all of a tensor's."""
    flat = tensor.reshape(-1)
    if flat.numel() > count:
        # In integers: float32 has no room for the places of a tensor with more than 2^24 elements.
        places = torch.arange(count) * (flat.numel() - 1) // (count - 1)
        flat = flat[places.to(flat.device)]
    return flat.to("cpu", torch.float32).numpy().tobytes()


def read_wires(
    model: Any, clip: Any, vae: Any, merge: Merge, settle: Settle = lambda patcher: None
) -> WiredModel:
    """Raises WireError for what cannot be trained on, by name."""
    wired = WiredModel()
    _check_present(model, clip, vae)
    _check_family(model)
    check_model(model, settle)
    _read_model(wired, model, merge)
    family = wired_family(clip)
    _check_same_family(model, family)
    check_clip(clip, settle)
    _read_clip(wired, clip, family, merge)
    _check_autoencoder(vae)
    check_vae(vae, settle)
    _read_vae(wired, model, vae, merge)
    return wired


def digest_of_patched(clip: Any, merge: Merge, settle: Settle) -> str:
    """As `WiredModel.digest`, of a CLIP alone; "" where it has no patches.

    Raises WireError as `read_wires`.
    """
    wired = WiredModel()
    family = wired_family(clip)
    check_clip(clip, settle)
    _read_clip(wired, clip, family, merge)
    patched = any(tensor.merged is not None for tensor in wired.tensors.values())
    return wired.digest() if patched else ""


def _check_present(model: Any, clip: Any, vae: Any) -> None:
    for name, wire in (("MODEL", model), ("CLIP", clip), ("VAE", vae)):
        if wire is None:
            raise WireError(
                f"{name}: is empty; the checkpoint that it comes from has none. Load it separately"
            )


# MODEL


def _read_model(wired: WiredModel, model: Any, merge: Merge) -> None:
    wired.kinds += [type(model.model).__qualname__]
    add_tensors(wired, key_patches(model, "diffusion_model."), merge, "MODEL", _unet_name)
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


def _check_family(model: Any) -> None:
    unet = model.model.diffusion_model
    if not hasattr(unet, "input_blocks"):
        raise WireError(
            f"MODEL: is {type(model.model.model_config).__name__}, a family that is not supported. "
            f"{REMEDY}"
        )


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


def _unet_name(key: str) -> str:
    return UNET + key.removeprefix("diffusion_model.")


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


def _read_clip(wired: WiredModel, clip: Any, family: Any, merge: Merge) -> None:
    wired.kinds += [type(clip).__qualname__, type(clip.cond_stage_model).__qualname__]
    wired.clip_skip = clip_skip_of(clip)
    for index, encoder in enumerate(family.encoders):
        _read_encoder(wired, clip, encoder, "" if index == 0 else f"_{index + 1}", merge)


def _read_encoder(wired: WiredModel, clip: Any, encoder: Any, suffix: str, merge: Merge) -> None:
    """suffix: of the metadata that is about this one."""
    start = f"{encoder.key}.transformer."
    model, projection = f"{start}text_model.", f"{start}text_projection.weight"

    def rename(key: str) -> str:
        if key == projection:
            return encoder.projection
        return encoder.root + key.removeprefix(model)

    patches = key_patches(clip.patcher, start)
    wanted = {
        key: value
        for key, value in patches.items()
        if key.startswith(model) or (encoder.pooled and key == projection)
    }
    add_tensors(wired, wanted, merge, "CLIP", rename)
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


def _check_autoencoder(vae: Any) -> None:
    state = vae.first_stage_model.state_dict()
    first = next((name for name in _LATENTS if name in state), None)
    found = "" if first is None else _other_latents(vae, first, state[first])
    if first is None or found:
        raise WireError(
            f"VAE: is {type(vae.first_stage_model).__name__}{found}, which is not supported. Wire "
            "the VAE of a Stable Diffusion checkpoint, or TAESD"
        )


# Where it shows how many channels latents have, as the decoder takes them.
_LATENTS = ("decoder.conv_in.weight", "taesd_decoder.1.weight")
_CHANNELS, _SIDE = 4, 8  # of latents, and the pixels of theirs


def _other_latents(vae: Any, name: str, weight: torch.Tensor) -> str:
    """How the latents are of another family; "" when they are not."""
    if weight.ndim != 4 or getattr(vae, "latent_dim", 2) != 2:
        return " for video"
    if weight.shape[1] != _CHANNELS:
        return f" with latents of {weight.shape[1]} channels in place of {_CHANNELS}"
    side = getattr(vae, "downscale_ratio", _SIDE)
    if side != _SIDE:
        return f" with latents of {side} pixels a side in place of {_SIDE}"
    return ""


def _read_vae(wired: WiredModel, model: Any, vae: Any, merge: Merge) -> None:
    first = vae.first_stage_model
    wired.kinds += [type(vae).__qualname__, type(first).__qualname__]
    add_tensors(wired, key_patches(vae.patcher), merge, "VAE", lambda key: VAE + key)
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
        convert = getattr(layer, f"convert_{name}", _unchanged)
        found[key] = [(weight, convert), *patcher.patches.get(key, [])]
    return found


def _unchanged(weight: torch.Tensor, **_: Any) -> torch.Tensor:
    return weight


def add_tensors(
    wired: WiredModel, key_patches: dict, merge: Merge, wire: str, rename: Callable[[str], str]
) -> None:
    """Adds what a ModelPatcher's `get_key_patches` gives: key -> [(weight, convert), *patches]."""
    for key, ((weight, convert), *patches) in key_patches.items():
        name = rename(key)
        quantised = _int8_of(weight, wire, key)
        if quantised is None:
            _check_plain(weight, wire, key)
        elif not patches:
            integers, scale = quantised
            wired.tensors[name] = WiredTensor(name, integers)
            wired.tensors[f"{name}_scale"] = WiredTensor(f"{name}_scale", scale)
            continue
        merged = _merged(weight, convert, patches, merge, key) if patches else None
        wired.tensors[name] = WiredTensor(name, weight, merged)


def _int8_of(weight: torch.Tensor, wire: str, key: str) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Integers and scales of a weight that ComfyUI has in `int8_tensorwise`; None of another."""
    if getattr(weight, "_layout_cls", None) != "TensorWiseINT8Layout":
        return None
    if getattr(weight._params, "convrot", False):
        raise WireError(
            f"{wire}: holds weights that were rotated before they were quantised ('{key}', "
            "convrot); the engine reads int8_tensorwise without it. Load a checkpoint in that, or "
            "in fp16, bf16 or fp32"
        )
    return weight._qdata, weight._params.scale


def _merged(
    weight: torch.Tensor, convert: Callable, patches: list, merge: Merge, key: str
) -> Callable[[], torch.Tensor]:
    def get() -> torch.Tensor:
        plain = weight.dequantize() if hasattr(weight, "_layout_cls") else weight
        # A copy: merging writes into what it is given.
        return merge(patches, convert(plain.to(torch.float32, copy=True), inplace=True), key)

    return get


def _check_plain(weight: torch.Tensor, wire: str, key: str) -> None:
    """Refuses weights that somebody else has quantised, by name."""
    kind = type(weight)
    if kind not in (torch.Tensor, torch.nn.Parameter):
        what = f"{kind.__name__} weights"
    elif weight.is_meta:
        what = "weights without numbers"
    elif "float8" in str(weight.dtype):
        what = f"{str(weight.dtype).removeprefix('torch.')} weights"
    else:
        return
    raise WireError(
        f"{wire}: holds {what} ('{key}'); the engine quantises by itself, and needs fp16, bf16, "
        "fp32 or int8_tensorwise. Load the checkpoint with its own weights"
    )
