"""Models that newer hosts hold in int8 already, and the engine beside them."""

import tempfile
import unittest

import comfy.lora
import setup  # noqa: F401
import tiny_families
import torch
from comfyui_zoodip.node import wires
from families_checks import VAE, message, train
from wires_checks import with_lora

try:
    import comfy.quant_ops  # noqa: F401
    from comfy.ops import _load_quantized_module  # noqa: F401

    KNOWN = True
except ImportError:
    KNOWN = False

MODEL, CLIP = tiny_families.xl()


def _known():
    if not KNOWN:
        raise unittest.SkipTest("this ComfyUI does not know int8_tensorwise")


def read(model):
    return wires.read_wires(model, CLIP, VAE, comfy.lora.calculate_weight)


def check_a_word_is_learned_on_integers_as_they_are():
    """With rows' scales and with one scale; the self-check compares the host's own passes."""
    _known()
    for by_row in (True, False):
        model = tiny_families.in_int8(MODEL, by_row)
        wired = read(model)
        integers = {n: t for n, t in wired.tensors.items() if t.dtype == torch.int8}
        assert integers
        plain = read(MODEL)
        for name, tensor in integers.items():
            scale = wired.tensors[f"{name}_scale"].get()
            assert scale.numel() == (tensor.stored.shape[0] if by_row else 1)
            apart = tensor.get() * scale - plain.tensors[name].get()
            assert apart.abs().max() <= 0.51 * scale.max()
        with tempfile.TemporaryDirectory() as folder:
            token = train(model, CLIP, folder)
        assert sorted(token.vectors) == ["clip_g", "clip_l"]


def check_a_lora_is_merged_into_what_the_integers_stand_for():
    _known()
    merged = read(with_lora(tiny_families.in_int8(MODEL, True), "diffusion_model."))
    expected = read(with_lora(MODEL, "diffusion_model."))
    changed = 0
    for name, tensor in read(MODEL).tensors.items():
        if not name.startswith(wires.UNET) or tensor.stored.dim() != 2:
            continue
        assert f"{name}_scale" not in merged.tensors
        rounding = tensor.get().abs().max() / 127
        apart = merged.tensors[name].get() - expected.tensors[name].get()
        assert apart.abs().max() <= 0.51 * rounding, name
        changed += 1
    assert changed > 10


def check_rotated_layers_are_refused_by_name():
    _known()
    rotated = {"format": "int8_tensorwise", "convrot": True, "convrot_groupsize": 16}
    model = tiny_families.in_int8(MODEL, True, rotated)
    found = message(wires.WireError, lambda: read(model))
    assert "rotated" in found and "convrot" in found, found
