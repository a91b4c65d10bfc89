"""What a wire computes besides its weights: patches, hooks and replaced methods, which training
cannot see and which no digest of weights holds.

Knows ComfyUI's objects by their attributes alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# settle(patcher): makes ComfyUI take out what another wire has put into the layers of its model.
Settle = Callable[[Any], object]

# Where wrappers stand around guidance and sampling, which training has none of. Every other kind,
# those of newer hosts too, stands around the model.
_OUTSIDE = {"outer_sample", "prepare_sampling", "sampler_sample", "predict_noise"}
_OUTSIDE |= {"calc_cond_batch"}
_COMPILES = "torch.compile"  # ComfyUI's key of the wrapper that compiles and changes nothing else

# An object that the host itself patches: the type that is computed in.
_PRECISION = "manual_cast_dtype"


class WireError(ValueError):
    """Something wired in cannot be trained on; one sentence says what, why and what to do."""


def check_model(model: Any, settle: Settle) -> None:
    """Raises WireError, by name, for what changes how the UNet computes."""
    found = changes_of(model, "model_sampling")
    found += replaced_methods(model.model, "apply_model", "process_latent_in")
    found += changed_layers(model.model.diffusion_model, lambda: settle(model))
    _require_none("MODEL", found)


def check_clip(clip: Any, settle: Settle) -> None:
    """As `check_model`, for the text encoder."""
    found = changes_of(clip.patcher)
    if "hooks" not in found and clip.apply_hooks_to_conds:
        found.append("hooks")
    found += replaced_methods(clip, "encode_from_tokens")
    found += replaced_methods(clip.cond_stage_model, "encode_token_weights")
    found += changed_layers(clip.cond_stage_model, lambda: settle(clip.patcher))
    _require_none("CLIP", found)


def check_vae(vae: Any, settle: Settle) -> None:
    """As `check_model`, for the autoencoder."""
    found = changes_of(vae.patcher) + replaced_methods(vae, "encode")
    found += changed_layers(vae.first_stage_model, lambda: settle(vae.patcher))
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


def changes_of(patcher: Any, *own_objects: str) -> list[str]:
    """What a ModelPatcher carries that changes how it computes, by name; [] for weights and their
    patches alone.

    own_objects: the patched objects that whoever asks will read.
    """
    options = patcher.model_options
    transformer = options.get("transformer_options", {})
    found = [name for kind in ("patches", "patches_replace") for name in transformer.get(kind, {})]
    # Of whatever name: a function in here is called by the UNet.
    found += [name for name, value in transformer.items() if callable(value)]
    found += [name for name in ("model_function_wrapper",) if options.get(name)]
    for wrappers in (patcher.wrappers, transformer.get("wrappers", {})):
        found += [
            str(key or kind)
            for kind, keyed in wrappers.items()
            if kind not in _OUTSIDE
            for key, calls in keyed.items()
            if calls and key != _COMPILES
        ]
    known = {_PRECISION, *own_objects}
    objects = patcher.object_patches.items()
    found += [name for name, made in objects if name not in known and made is not None]
    found += [f"the injection {name}" for name, made in patcher.injections.items() if made]
    wrapped = patcher.weight_wrapper_patches.items()
    found += [f"the weight function of {name}" for name, made in wrapped if made]
    return [*found, "hooks"] if patcher.forced_hooks or patcher.hook_patches else found


def replaced_methods(owner: Any, *names: str) -> list[str]:
    """Which of an object's methods somebody has replaced on the object itself."""
    found = []
    for name in names:
        mine = vars(owner).get(name)
        # Who puts a method back leaves it on the object.
        own = getattr(mine, "__self__", None) is owner
        if mine is not None and not (own and mine.__func__ is getattr(type(owner), name, None)):
            found.append(name)
    return found


def changed_layers(root: Any, settle: Callable[[], object]) -> list[str]:
    """The layers of a model whose forward pass is hooked or replaced, once `settle` has taken out
    what another wire of the same model has put there."""

    def changed() -> list[str]:
        return [
            f"the forward pass of {name or type(layer).__name__}"
            for name, layer in root.named_modules()
            if layer._forward_hooks
            or layer._forward_pre_hooks
            or replaced_methods(layer, "forward")
        ]

    if changed():
        settle()
    return changed()
