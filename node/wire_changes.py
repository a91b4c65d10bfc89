"""What a wire computes besides its weights: patches, hooks and replaced methods, which training
cannot see and which no digest of weights holds.

Knows ComfyUI's objects by their attributes alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

# settle(patcher): makes ComfyUI take out what another wire has put into the layers of its model.
Settle = Callable[[Any], object]

# Where wrappers stand around guidance and sampling, which training has none of. Every other kind,
# those of newer hosts too, stands around the model.
_OUTSIDE = {"outer_sample", "prepare_sampling", "sampler_sample", "predict_noise"}
_OUTSIDE |= {"calc_cond_batch"}
_COMPILES = "torch.compile"  # ComfyUI's key of the wrapper that compiles and changes nothing else

# An object that the host itself patches: the type that is computed in.
_PRECISION = {"manual_cast_dtype"}


class WireError(ValueError):
    """Something wired in cannot be trained on; one sentence says what, why and what to do."""


def check_model(model: Any, settle: Settle) -> None:
    """Raises WireError, by name, for what changes how the UNet computes."""
    found = changes_of(model, own_objects=("model_sampling",))
    found += replaced_methods(model.model, ("apply_model", "process_latent_in"))
    found += settled_layers(model.model.diffusion_model, lambda: settle(model))
    _require_none("MODEL", found)


def check_clip(clip: Any, settle: Settle) -> None:
    """As `check_model`, for the text encoder."""
    found = changes_of(clip.patcher)
    if "hooks" not in found and getattr(clip, "apply_hooks_to_conds", None):
        found.append("hooks")
    found += replaced_methods(clip, ("encode_from_tokens",))
    found += replaced_methods(clip.cond_stage_model, ("encode_token_weights",))
    found += settled_layers(clip.cond_stage_model, lambda: settle(clip.patcher))
    _require_none("CLIP", found)


def check_vae(vae: Any, settle: Settle) -> None:
    """As `check_model`, for the autoencoder."""
    found = changes_of(vae.patcher) + replaced_methods(vae, ("encode",))
    found += settled_layers(vae.first_stage_model, lambda: settle(vae.patcher))
    _require_none("VAE", found)


def _require_none(wire: str, found: list[str]) -> None:
    if not found:
        return
    remedy = f"Wire the {wire} before the node that adds them"
    if "hooks" in found:
        remedy += ", and set hooks behind the training"
    elif any("bypass" in name for name in found):
        remedy = "Load the LoRA with Load LoRA, which training sees, in place of its bypass mode"
    raise WireError(
        f"{wire}: carries patches that change how it computes ({', '.join(found[:4])}); training "
        f"cannot see them. {remedy}"
    )


def changes_of(patcher: Any, own_objects: Iterable[str] = ()) -> list[str]:
    """What a ModelPatcher carries that changes how it computes, by name; [] for weights and their
    patches alone.

    own_objects: the patched objects that whoever asks will read.
    """
    options = getattr(patcher, "model_options", {})
    transformer = options.get("transformer_options", {})
    found = _in_options(options, transformer)
    for wrappers in (getattr(patcher, "wrappers", {}), transformer.get("wrappers", {})):
        found += _wrappers(wrappers)
    known = _PRECISION | set(own_objects)
    objects = getattr(patcher, "object_patches", {})
    found += [name for name, made in objects.items() if name not in known and made is not None]
    found += [f"the injection {name}" for name in _filled(getattr(patcher, "injections", {}))]
    found += [f"the weight function of {name}" for name in _filled(_weight_wrappers(patcher))]
    hooks = getattr(patcher, "forced_hooks", None) or getattr(patcher, "hook_patches", None)
    return [*found, "hooks"] if hooks else found


def _in_options(options: Mapping[str, Any], transformer: Mapping[str, Any]) -> list[str]:
    found = [name for kind in ("patches", "patches_replace") for name in transformer.get(kind, {})]
    # Of whatever name: a function in here is called by the UNet.
    found += [name for name, value in transformer.items() if callable(value)]
    return found + [name for name in ("model_function_wrapper",) if options.get(name)]


def _wrappers(wrappers: Mapping[str, Mapping[Any, list]]) -> list[str]:
    return [
        str(key or kind)
        for kind, keyed in wrappers.items()
        if kind not in _OUTSIDE
        for key, calls in keyed.items()
        if calls and key != _COMPILES
    ]


def _weight_wrappers(patcher: Any) -> Mapping[str, list]:
    return getattr(patcher, "weight_wrapper_patches", {})


def _filled(named: Mapping[str, Any]) -> list[str]:
    return [name for name, value in named.items() if value]


def replaced_methods(owner: Any, names: Iterable[str]) -> list[str]:
    """Which of an object's methods somebody has replaced on the object itself."""
    return [name for name in names if _is_replaced(owner, name)]


def _is_replaced(owner: Any, name: str) -> bool:
    mine = getattr(owner, "__dict__", {}).get(name)
    if mine is None:
        return False
    # Who puts a method back leaves it on the object.
    own = getattr(mine, "__self__", None) is owner
    return not (own and mine.__func__ is getattr(type(owner), name, None))


def changed_layers(root: Any) -> list[str]:
    """The layers of a model whose forward pass is hooked or replaced."""
    if not isinstance(root, torch.nn.Module):
        return []
    return [
        f"the forward pass of {name or type(layer).__name__}"
        for name, layer in root.named_modules()
        if layer._forward_hooks or layer._forward_pre_hooks or _is_replaced(layer, "forward")
    ]


def settled_layers(root: Any, settle: Callable[[], object]) -> list[str]:
    """As `changed_layers`, once `settle` has taken out what another wire of the same model has put
    there."""
    if changed_layers(root):
        settle()
    return changed_layers(root)
