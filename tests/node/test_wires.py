"""What is read off the wires, from stand-ins with the attributes of ComfyUI's objects."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from comfyui_zoodip.node.wires import WireError, clip_skip_of, read_wires


class EPS:
    pass


class V_PREDICTION(EPS):
    pass


class EDM(V_PREDICTION):
    pass


class LCM(EPS):
    pass


class CONST:
    pass


SIGMAS = torch.linspace(0.03, 14.6, 1000)


def sampling(kind, sigmas=SIGMAS):
    made = type("ModelSampling", (kind,), {})()
    made.sigmas = sigmas
    return made


class Patcher:
    """ComfyUI's ModelPatcher, as far as it is asked."""

    def __init__(self, state, patches=None, **more):
        self.state, self.patches = state, patches or {}
        self.model_options = more.get("model_options", {"transformer_options": {}})
        self.object_patches = more.get("object_patches", {})
        self.hook_patches = {}
        self.sampling = more.get("sampling", sampling(EPS))
        unet = SimpleNamespace(
            input_blocks=[], num_heads=more.get("heads", 8), num_head_channels=-1
        )
        config = type(more.get("config", "SD15"), (), {})()
        if "resolution" in more:
            config.zoodip_resolution = more["resolution"]
        if config.__class__.__name__ != "SD15":
            del unet.input_blocks
        self.model = SimpleNamespace(
            diffusion_model=unet,
            model_config=config,
            latent_format=SimpleNamespace(scale_factor=more.get("scale", 0.18215)),
        )

    def get_key_patches(self, start=None):
        return {
            key: [(weight, lambda a, **_: a), *self.patches.get(key, [])]
            for key, weight in self.state.items()
            if key.startswith(start or "")
        }

    def get_model_object(self, name):
        assert name == "model_sampling"
        return self.sampling


def merge(patches, weight, key):
    """As comfy.lora.calculate_weight: changes what it is given."""
    for patch in patches:
        weight += patch
    return weight


UNET = {"diffusion_model.a.weight": torch.arange(6.0).reshape(2, 3).half(), "other": torch.ones(1)}
TEXT = {
    "clip_l.transformer.text_model.b.weight": torch.ones(2),
    "clip_l.transformer.text_projection.weight": torch.ones(2),
    "clip_l.logit_scale": torch.ones(1),
}
KL = {"encoder.conv_in.weight": torch.ones(3)}


class TextModel(torch.nn.Module):
    def __init__(self, layers=12, default=("last", None, False)):
        super().__init__()
        self.num_layers, self.options_default = layers, default
        layer = SimpleNamespace(self_attn=SimpleNamespace(heads=12))
        encoder = SimpleNamespace(layers=[layer])
        self.transformer = SimpleNamespace(text_model=SimpleNamespace(encoder=encoder))


def clip(layer_idx=None, names=("clip_l",), **more):
    model = torch.nn.Module()
    for name in names:
        setattr(model, name, TextModel(**more))
    return SimpleNamespace(cond_stage_model=model, patcher=Patcher(TEXT), layer_idx=layer_idx)


def vae(state=None, kind="AutoencoderKL", **more):
    first = type(kind, (), {"state_dict": lambda self: state or KL, **more})()
    return SimpleNamespace(first_stage_model=first)


def read(**changes):
    model = changes.pop("model", None) or Patcher(UNET, **changes)
    return read_wires(model, clip(), vae(), merge)


def test_names_are_those_of_checkpoints():
    assert set(read().tensors) == {
        "model.diffusion_model.a.weight",
        "cond_stage_model.transformer.text_model.b.weight",
        "first_stage_model.encoder.conv_in.weight",
    }


def test_patches_are_merged_in_float32_and_the_weight_is_left_alone():
    patch = torch.full((2, 3), 1 / 3)
    wired = read(patches={"diffusion_model.a.weight": [patch, patch]})
    before = UNET["diffusion_model.a.weight"].clone()
    merged = wired.tensors["model.diffusion_model.a.weight"].get()
    assert merged.dtype == torch.float32
    assert torch.equal(merged, before.float() + patch + patch)
    assert torch.equal(UNET["diffusion_model.a.weight"], before)


def test_tensors_of_inference_mode_become_plain_ones():
    with torch.inference_mode():
        state = {**UNET, "diffusion_model.a.weight": torch.ones(2, 3)}
        wired = read(model=Patcher(state))
        tensor = wired.tensors["model.diffusion_model.a.weight"].get()
    assert not tensor.is_inference()


def test_the_digest_follows_weights_patches_and_all_else():
    plain = read().digest()
    assert read().digest() == plain
    changed = {**UNET, "diffusion_model.a.weight": UNET["diffusion_model.a.weight"] + 1}
    others = [
        read(model=Patcher(changed)),
        read(patches={"diffusion_model.a.weight": [torch.full((2, 3), 0.25)]}),
        read(patches={"diffusion_model.a.weight": [torch.full((2, 3), 0.125)]}),
        read(heads=4),
        read(resolution=128),
        read(scale=0.13025),
        read(sampling=sampling(V_PREDICTION)),
        read(sampling=sampling(EPS, SIGMAS * 1.5)),
        read_wires(Patcher(UNET), clip(-2), vae(), merge),
    ]
    digests = {wired.digest() for wired in others}
    assert plain not in digests
    assert len(digests) == len(others)


def test_the_digest_reads_samples_of_large_tensors():
    large = {"diffusion_model.a.weight": torch.zeros(1000, 1000)}
    moved = {"diffusion_model.a.weight": torch.zeros(1000, 1000) + 1e-3}
    assert read(model=Patcher(large)).digest() != read(model=Patcher(moved)).digest()


@pytest.mark.parametrize(
    "shape", [(49408, 768), (2**24 + 1,), (2**24 + 3,), (2**25 + 3,), (2**26 - 1,), (257,), (1,)]
)
def test_the_digest_reads_a_tensor_from_its_first_element_to_its_last(shape):
    """float32 cannot count the elements of a token table."""
    key = "diffusion_model.a.weight"
    numbers = torch.zeros(shape, dtype=torch.uint8)
    seen = [read(model=Patcher({key: numbers})).digest()]
    for place in (0, -1):
        numbers.view(-1)[place] += 1
        seen.append(read(model=Patcher({key: numbers})).digest())
    assert len(set(seen)) == 3


def test_metadata_says_what_shapes_do_not():
    wired = read(heads=4, resolution=128, scale=0.5)
    assert wired.metadata == {
        "zoodip.unet_heads": "4",
        "zoodip.text_heads": "12",
        "zoodip.resolution": "128",
        "zoodip.latent_scale": "0.5",
    }


def test_the_scale_of_a_taesd_is_taken_into_account():
    """ComfyUI divides by vae_scale, and multiplies by the format's factor: z = taesd(x) here."""
    tiny = {"taesd_encoder.0.weight": torch.ones(1)}
    wired = read_wires(
        Patcher(UNET), clip(), vae(tiny, "TAESD", vae_scale=torch.tensor(0.18215)), merge
    )
    assert float(wired.metadata["zoodip.latent_scale"]) == pytest.approx(1, rel=1e-7)


def test_the_schedule_is_the_wired_one():
    wired = read()
    assert wired.alphas_cumprod == pytest.approx((1 / (SIGMAS.double() ** 2 + 1)).tolist())
    assert wired.prediction == "epsilon"
    assert read(sampling=sampling(V_PREDICTION)).prediction == "v"


@pytest.mark.parametrize(
    ("index", "default", "skip"),
    [
        (None, ("last", None, False), 1),
        (None, ("hidden", -2, False), 2),
        (-1, ("last", None, False), 1),
        (-2, ("last", None, False), 2),
        (-12, ("last", None, False), 12),
        (-13, ("last", None, False), 1),  # ComfyUI takes the last layer
        (11, ("last", None, False), 1),
        (0, ("last", None, False), 12),
    ],
)
def test_clip_skip(index, default, skip):
    assert clip_skip_of(clip(index, default=default)) == skip


class GGMLTensor(torch.Tensor):
    """Like that of ComfyUI-GGUF."""


REFUSED = {
    "LCM": ({"sampling": sampling(LCM)}, "MODEL: its sampling is LCM"),
    "EDM": ({"sampling": sampling(EDM)}, "MODEL: its sampling is EDM"),
    "flow": ({"sampling": sampling(CONST)}, "MODEL: its sampling is CONST"),
    "short": ({"sampling": sampling(EPS, SIGMAS[:50])}, "MODEL: its schedule has 50 timesteps"),
    "Flux": ({"config": "Flux"}, "MODEL: is Flux, a family that is not supported"),
    "heads": ({"heads": -1}, "MODEL: has -1 channels in every attention head"),
    "attention": (
        {"model_options": {"transformer_options": {"patches_replace": {"attn2": {}}}}},
        r"MODEL: carries patches .*\(attn2\)",
    ),
    "wrapper": (
        {"model_options": {"model_function_wrapper": print}},
        r"MODEL: carries patches .*\(model_function_wrapper\)",
    ),
    "object": (
        {"object_patches": {"diffusion_model.forward": print}},
        r"MODEL: carries patches .*\(diffusion_model.forward\)",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_models(name):
    changes, message = REFUSED[name]
    with pytest.raises(WireError, match=message):
        read(**changes)


def test_sampling_may_be_patched():
    assert read(object_patches={"model_sampling": sampling(V_PREDICTION)})


@pytest.mark.parametrize(
    ("weight", "what"),
    [
        (torch.ones(2, 3).to(torch.float8_e4m3fn), "float8_e4m3fn weights"),
        (torch.ones(2, 3).to(torch.float8_e5m2), "float8_e5m2 weights"),
        (torch.ones(2, 3).as_subclass(GGMLTensor), "GGMLTensor weights"),
        (torch.ones(2, 3, device="meta"), "weights without numbers"),
    ],
)
def test_weights_that_others_quantised_are_refused(weight, what):
    state = {**UNET, "diffusion_model.a.weight": weight}
    with pytest.raises(WireError, match=f"MODEL: holds {what}"):
        read(model=Patcher(state))


@pytest.mark.parametrize("names", [("clip_l", "clip_g"), ("clip_h",), ("t5xxl",), ()])
def test_other_text_encoders_are_refused(names):
    with pytest.raises(WireError, match="CLIP: holds "):
        read_wires(Patcher(UNET), clip(names=names), vae(), merge)


def test_another_autoencoder_is_refused():
    with pytest.raises(WireError, match="VAE: is StageA, which is not supported"):
        read_wires(Patcher(UNET), clip(), vae({"x": torch.ones(1)}, "StageA"), merge)


@pytest.mark.parametrize("missing", ["MODEL", "CLIP", "VAE"])
def test_an_empty_wire_is_named(missing):
    given = {"MODEL": Patcher(UNET), "CLIP": clip(), "VAE": vae()}
    given[missing] = None
    with pytest.raises(WireError, match=f"{missing}: is empty"):
        read_wires(*given.values(), merge)
