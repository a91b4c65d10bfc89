"""Stable Diffusion 2.x and XL of the real host, and the engine beside its objects."""

import tempfile
from pathlib import Path

import comfy.lora
import setup  # noqa: F401
import tiny_families
import torch
from comfyui_zoodip.node import caption_ids, checkpoint, demo_model, native, self_check, wires
from comfyui_zoodip.node.token import read_token
from comfyui_zoodip.node.token_clip import apply_token
from safetensors.torch import save_file

FAMILIES = {"xl": tiny_families.xl(), "sd2": tiny_families.sd2()}
with torch.inference_mode(False):
    VAE = tiny_families.vae()
merge = comfy.lora.calculate_weight
STEPS = 3


def pixels():
    generator = torch.Generator().manual_seed(5)
    return torch.randint(0, 256, (160, 140, 3), generator=generator, dtype=torch.uint8)


def train(model, clip, folder, **settings):
    """Learns for a few steps after the self-check; the token."""
    wired = wires.read_wires(model, clip, VAE, merge)
    expected = self_check.expected_of(model, clip, VAE, wired, pixels(), "a photo of a dog")
    text = caption_ids.prepare_captions(clip, ["a photo of a {}"], "zwx")[0]
    picture = native.graph().Picture("one", pixels(), "0" * 64, "a photo of a {}", text)
    out = Path(folder) / "zwx.safetensors"
    native.graph().train(
        wired.weights(),
        [picture],
        "zwx",
        ("dog", caption_ids.initialiser(clip, "dog")),
        out,
        empty_text=caption_ids.prepare_plain(clip, ""),
        alphas_cumprod=wired.alphas_cumprod,
        expected=expected,
        settings={
            "steps": STEPS,
            "resolution": 128,
            "compute": "fp32",
            "clip_skip": wired.clip_skip,
            "prediction": wired.prediction,
            "validate_every": 0,
            **settings,
        },
    )
    return read_token(out)


def message(kind, call):
    try:
        call()
    except kind as error:
        return str(error)
    raise AssertionError("nothing was raised")


def check_a_word_is_learned_in_every_text_encoder():
    for name, (model, clip) in FAMILIES.items():
        with tempfile.TemporaryDirectory() as folder:
            token = train(model, clip, folder, learning_rate=0.1)
        widths = {key: vectors.shape[1] for key, vectors in token.vectors.items()}
        assert widths == ({"clip_l": 64, "clip_g": 128} if name == "xl" else {"clip_h": 128}), (
            widths
        )
        inner = clip.cond_stage_model
        for key, vectors in token.vectors.items():
            table = getattr(inner, key).transformer.text_model.embeddings.token_embedding.weight
            assert not torch.allclose(vectors[0], table[1929].float().cpu(), atol=1e-3), key
        knowing = apply_token(clip, token)
        states, pooled = knowing.encode_from_tokens(
            knowing.tokenize("a photo of a zwx"), return_pooled=True
        )[:2]
        other, other_pooled = clip.encode_from_tokens(
            clip.tokenize("a photo of a dog"), return_pooled=True
        )[:2]
        assert states.shape == other.shape and not torch.allclose(states, other, atol=1e-3)
        if name == "xl":
            assert not torch.allclose(pooled, other_pooled, atol=1e-3)


def check_the_exact_gradient():
    model, clip = FAMILIES["xl"]
    with tempfile.TemporaryDirectory() as folder:
        token = train(model, clip, folder, method="exact")
    assert sorted(token.vectors) == ["clip_g", "clip_l"]


def check_every_clip_skip_of_the_wire():
    """The self-check would refuse another layer: one off makes a third of the states' size."""
    for model, clip in FAMILIES.values():
        for layer in (-1, -2):
            skipped = clip.clone()
            skipped.clip_layer(layer)
            with tempfile.TemporaryDirectory() as folder:
                train(model, skipped, folder)


def check_the_self_check_sees_another_pooled_vector():
    model, clip = FAMILIES["xl"]
    _, other = tiny_families.xl(seed=7)
    wired = wires.read_wires(model, clip, VAE, merge)
    expected = self_check.expected_of(model, clip, VAE, wired, pixels(), "a photo of a dog")
    *_, pooled = self_check.text_states(other, "a photo of a dog")
    text = (*expected.text[:2], pooled)
    with tempfile.TemporaryDirectory() as folder:
        prepared = caption_ids.prepare_captions(clip, ["a {}"], "zwx")[0]
        picture = native.graph().Picture("one", pixels(), "0" * 64, "a {}", prepared)
        found = message(
            native.zoodip().Error,
            lambda: native.graph().train(
                wired.weights(),
                [picture],
                "zwx",
                ("dog", [1929]),
                Path(folder) / "zwx.safetensors",
                empty_text=caption_ids.prepare_plain(clip, ""),
                alphas_cumprod=wired.alphas_cumprod,
                expected=native.graph().Expected(text=text),
                settings={"steps": 1, "resolution": 128, "compute": "fp32"},
            ),
        )
    assert "self-check: pooled text vectors differ" in found, found


def check_wires_of_different_families_are_refused():
    with torch.inference_mode(False):
        sd1_model, sd1_clip, _ = demo_model.LoadDemoModelZO.execute().result
    model, clip = FAMILIES["xl"]
    for pair in ((sd1_model, clip), (model, sd1_clip), (model, FAMILIES["sd2"][1])):
        found = message(wires.WireError, lambda pair=pair: wires.read_wires(*pair, VAE, merge))
        assert "different families" in found and "from one checkpoint" in found, found


def check_a_checkpoint_file_is_read_with_its_own_tokenizer():
    for name, (model, clip) in FAMILIES.items():
        wired = wires.read_wires(model, clip, VAE, merge)
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "model.safetensors")
            tensors = {key: tensor.get().contiguous() for key, tensor in wired.tensors.items()}
            save_file(tensors, path, wired.metadata)
            tokens = checkpoint.TokenizerOnly.of_checkpoint(path, [])
            text = caption_ids.prepare_captions(tokens, ["a photo of a {}"], "zwx")[0]
            assert text.ids[0, :8].tolist() == [49406, 320, 1125, 539, 320, 0, 49407, 49407], name
            own = caption_ids.prepare_captions(clip, ["a photo of a {}"], "zwx")[0]
            assert torch.equal(text.ids, own.ids) and text.places == own.places == (5,)
            out = Path(folder) / "zwx.safetensors"
            native.graph().train(
                path,
                [native.graph().Picture("one", pixels(), "0" * 64, "", text)],
                "zwx",
                ("dog", caption_ids.initialiser(tokens, "dog")),
                out,
                empty_text=caption_ids.prepare_plain(tokens, ""),
                settings={"steps": 1, "resolution": 128, "compute": "fp32"},
            )
            assert sorted(read_token(out).vectors) == (
                ["clip_g", "clip_l"] if name == "xl" else ["clip_h"]
            )
