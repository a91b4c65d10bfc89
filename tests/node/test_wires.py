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


class BaseModel:
    def apply_model(self):
        """Computes."""


class Patcher:
    """ComfyUI's ModelPatcher, as far as it is asked."""

    def __init__(self, state, patches=None, **more):
        self.state, self.patches = state, patches or {}
        self.model_options = more.get("model_options", {"transformer_options": {}})
        self.object_patches = more.get("object_patches", {})
        self.wrappers = more.get("wrappers", {})
        self.injections = more.get("injections", {})
        self.weight_wrapper_patches = more.get("weight_wrappers", {})
        self.hook_patches = more.get("hook_patches", {})
        self.forced_hooks = more.get("forced_hooks")
        self.sampling = more.get("sampling", sampling(EPS))
        unet = torch.nn.Sequential(torch.nn.Linear(2, 2))
        unet.input_blocks, unet.num_head_channels = [], -1
        unet.num_heads = more.get("heads", 8)
        config = type(more.get("config", "SD15"), (), {})()
        if "resolution" in more:
            config.zoodip_resolution = more["resolution"]
        if config.__class__.__name__ != "SD15":
            del unet.input_blocks
        self.model = BaseModel()
        self.model.diffusion_model = unet
        self.model.model_config = config
        self.model.latent_format = SimpleNamespace(scale_factor=more.get("scale", 0.18215))

    def get_key_patches(self, start=None):
        return {
            key: [(weight, lambda a, **_: a), *self.patches.get(key, [])]
            for key, weight in self.state.items()
            if key.startswith(start or "")
        }

    def model_state_dict(self):
        return self.state

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
KL = {"decoder.conv_in.weight": torch.ones(512, 4, 3, 3)}
TINY = {"taesd_decoder.1.weight": torch.ones(64, 4, 3, 3)}


class TextModel(torch.nn.Module):
    def __init__(self, layers=12, default=("last", None, False)):
        super().__init__()
        self.num_layers, self.options_default = layers, default
        layer = SimpleNamespace(self_attn=SimpleNamespace(heads=12))
        encoder = SimpleNamespace(layers=[layer])
        self.transformer = SimpleNamespace(text_model=SimpleNamespace(encoder=encoder))


class CLIP:
    def encode_from_tokens(self):
        """Computes."""


class VAE:
    def encode(self):
        """Computes."""


def clip(layer_idx=None, names=("clip_l",), patched=None, **more):
    out = CLIP()
    out.cond_stage_model = torch.nn.Module()
    for name in names:
        setattr(out.cond_stage_model, name, TextModel(**more))
    out.patcher, out.layer_idx = Patcher(TEXT, **(patched or {})), layer_idx
    out.apply_hooks_to_conds = None
    return out


def vae(state=None, kind="AutoencoderKL", patched=None, **more):
    state = state or KL
    methods = {"state_dict": lambda self: state, "named_modules": lambda self: []}
    first = type(kind, (), methods | more)()
    out = VAE()
    out.latent_dim, out.downscale_ratio = 2, 8
    out.first_stage_model, out.patcher = first, Patcher(state, **(patched or {}))
    return out


def read(**changes):
    model = changes.pop("model", None) or Patcher(UNET, **changes)
    return read_wires(model, clip(), vae(), merge)


def test_names_are_those_of_checkpoints():
    assert set(read().tensors) == {
        "model.diffusion_model.a.weight",
        "cond_stage_model.transformer.text_model.b.weight",
        "first_stage_model.decoder.conv_in.weight",
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
    tiny = vae(TINY, "TAESD", taesd_encoder=None, vae_scale=torch.tensor(0.18215))
    wired = read_wires(Patcher(UNET), clip(), tiny, merge)
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
    "attention": (
        {"model_options": {"transformer_options": {"patches_replace": {"attn2": {}}}}},
        r"MODEL: carries patches .*\(attn2\)",
    ),
    "wrapper": (
        {"model_options": {"model_function_wrapper": print}},
        r"MODEL: carries patches .*\(model_function_wrapper\)",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_models(name):
    changes, message = REFUSED[name]
    with pytest.raises(WireError, match=message):
        read(**changes)


def call(*_):
    """A patch."""


# What changes how a wire computes -> how it is named.
CHANGES = {
    "a bypass LoRA": ({"injections": {"bypass_lora": [call]}}, "the injection bypass_lora"),
    "hooks": ({"forced_hooks": SimpleNamespace(hooks=[call])}, "hooks"),
    "registered hooks": ({"hook_patches": {"hook": {"key": call}}}, "hooks"),
    "a weight wrapper": (
        {"weight_wrappers": {"diffusion_model.a.weight": [call]}},
        "the weight function of diffusion_model.a.weight",
    ),
    "an object": ({"object_patches": {"layers.0": call}}, "layers.0"),
    "a wrapper": ({"wrappers": {"apply_model": {"mine": [call]}}}, "mine"),
    "a wrapper without a name": ({"wrappers": {"diffusion_model": {None: [call]}}}, "diffusion_"),
    "a wrapper of a kind to come": ({"wrappers": {"new_kind": {"mine": [call]}}}, "mine"),
    "a wrapper among options": (
        {"model_options": {"transformer_options": {"wrappers": {"apply_model": {"it": [call]}}}}},
        "it",
    ),
    "attention": (
        {"model_options": {"transformer_options": {"optimized_attention_override": call}}},
        "optimized_attention_override",
    ),
}


def changed_wires(wire, changes):
    """MODEL, CLIP and VAE, one of them changed."""
    return {
        "MODEL": lambda: (Patcher(UNET, **changes), clip(), vae()),
        "CLIP": lambda: (Patcher(UNET), clip(patched=changes), vae()),
        "VAE": lambda: (Patcher(UNET), clip(), vae(patched=changes)),
    }[wire]()


@pytest.mark.parametrize("wire", ["MODEL", "CLIP", "VAE"])
@pytest.mark.parametrize("name", CHANGES)
def test_what_changes_the_computation_is_refused_by_name(wire, name):
    changes, said = CHANGES[name]
    with pytest.raises(WireError, match=rf"^{wire}: carries patches .*\({said}"):
        read_wires(*changed_wires(wire, changes), merge)


@pytest.mark.parametrize("wire", ["MODEL", "CLIP", "VAE"])
def test_what_leaves_the_computation_as_it_is_may_be_there(wire):
    """Guidance, compilation and the type that is computed in."""
    plain = read().digest()
    guidance = {"predict_noise": {"x": [call]}, "outer_sample": {"y": [call]}}
    for changes in (
        {"wrappers": {"apply_model": {"torch.compile": [call]}, **guidance}},
        {"wrappers": {"apply_model": {"mine": []}}},
        {"object_patches": {"manual_cast_dtype": torch.float32, "gone": None}},
        {"injections": {"none": []}, "weight_wrappers": {"none": []}},
        {"model_options": {"sampler_cfg_function": call, "transformer_options": {"sigmas": 1}}},
    ):
        assert read_wires(*changed_wires(wire, changes), merge).digest() == plain


def test_hooks_that_a_clip_gives_to_conditionings_are_refused():
    hooked = clip()
    hooked.apply_hooks_to_conds = [call]
    with pytest.raises(WireError, match=r"CLIP: .*\(hooks\).* set hooks behind the training"):
        read_wires(Patcher(UNET), hooked, vae(), merge)


def test_methods_replaced_on_the_objects_are_refused():
    model, text, auto = Patcher(UNET), clip(), vae()
    for wire, owner, method in (
        ("MODEL", model.model, "apply_model"),
        ("CLIP", text, "encode_from_tokens"),
        ("VAE", auto, "encode"),
    ):
        before = getattr(owner, method)
        setattr(owner, method, call)
        with pytest.raises(WireError, match=rf"{wire}: .*\({method}\)"):
            read_wires(model, text, auto, merge)
        setattr(owner, method, before)
        assert read_wires(model, text, auto, merge)


def test_hooked_and_replaced_layers_are_refused_until_the_host_has_taken_them_out():
    """What another wire of the same model has put there is the host's to take out."""
    model = Patcher(UNET)
    layer = model.model.diffusion_model[0]
    settled = []
    hook = layer.register_forward_hook(call)
    with pytest.raises(WireError, match=r"MODEL: .*\(the forward pass of 0\)"):
        read_wires(model, clip(), vae(), merge, settled.append)
    assert settled == [model]
    hook.remove()
    forward = layer.forward
    layer.forward = call

    def eject(patcher):
        layer.forward = forward

    assert read_wires(model, clip(), vae(), merge, eject)
    assert read_wires(model, clip(), vae(), merge, lambda patcher: pytest.fail("is settled"))


def test_the_digest_follows_the_classes_and_the_patches_of_the_autoencoder():
    class Scaled(VAE):
        """Encodes in its own way."""

    scaled = vae()
    scaled.__class__ = Scaled
    patched = vae()
    patched.patcher.patches = {"decoder.conv_in.weight": [torch.full((512, 4, 3, 3), 0.5)]}
    digests = {
        read_wires(Patcher(UNET), clip(), each, merge).digest() for each in (vae(), scaled, patched)
    }
    assert len(digests) == 3


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


class Quantised:
    """ComfyUI's QuantizedTensor, as far as it is asked."""

    _layout_cls = "TensorWiseINT8Layout"
    dtype, shape = torch.bfloat16, (2, 3)

    def __init__(self, convrot=False):
        self._qdata = torch.tensor([[127, -3, 0], [5, 127, 1]], dtype=torch.int8)
        self._params = SimpleNamespace(scale=torch.tensor([[0.5], [0.25]]), convrot=convrot)

    def dequantize(self):
        return self._qdata * self._params.scale


class QuantisedPatcher(Patcher):
    """Of a model with one layer in int8_tensorwise, whose state holds more than its weights."""

    def __init__(self, weight, **more):
        key = "diffusion_model.0.weight"
        extra = dict.fromkeys((f"{key}_scale", "diffusion_model.0.comfy_quant"), torch.ones(1))
        super().__init__({key: weight, "diffusion_model.0.bias": torch.ones(2), **extra}, **more)
        layer = SimpleNamespace(weight=weight, bias=torch.ones(2))
        self.model.get_submodule = lambda name: {"diffusion_model.0": layer}[name]
        self.backup = {}

    def get_key_patches(self, start=None):
        raise AttributeError("'Linear' object has no attribute 'comfy_quant'")


def test_layers_that_are_int8_already_are_taken_as_they_are():
    weight = Quantised()
    tensors = read(model=QuantisedPatcher(weight)).tensors
    name = "model.diffusion_model.0."
    assert [n for n in tensors if n.startswith(name)] == [
        f"{name}weight",
        f"{name}weight_scale",
        f"{name}bias",
    ]
    assert torch.equal(tensors[f"{name}weight"].get(), weight._qdata)
    assert torch.equal(tensors[f"{name}weight_scale"].get(), weight._params.scale)


def test_patches_are_merged_into_what_such_a_layer_stands_for():
    patch = torch.full((2, 3), 0.125)
    patched = {"diffusion_model.0.weight": [patch]}
    tensors = read(model=QuantisedPatcher(Quantised(), patches=patched)).tensors
    name = "model.diffusion_model.0.weight"
    assert f"{name}_scale" not in tensors
    assert torch.equal(tensors[name].get(), Quantised().dequantize() + patch)


def test_layers_that_were_rotated_first_are_refused():
    with pytest.raises(WireError, match=r"MODEL: .*rotated.*diffusion_model\.0\.weight.*convrot"):
        read(model=QuantisedPatcher(Quantised(convrot=True)))


@pytest.mark.parametrize(
    "names", [("clip_g",), ("clip_l", "t5xxl"), ("clip_l", "clip_g", "t5xxl"), ("t5xxl",), ()]
)
def test_other_text_encoders_are_refused(names):
    with pytest.raises(WireError, match="CLIP: holds .*Stable Diffusion XL has clip_l and clip_g"):
        read_wires(Patcher(UNET), clip(names=names), vae(), merge)


PENULTIMATE = ("hidden", -2, True)


def test_the_second_family():
    """One encoder of OpenCLIP's, whose last layer but one is taken."""
    state = {name.replace("clip_l.", "clip_h."): tensor for name, tensor in TEXT.items()}
    wire = clip(names=("clip_h",), default=PENULTIMATE)
    wire.patcher = Patcher(state)
    wired = read_wires(Patcher(UNET), wire, vae(), merge)
    root = "cond_stage_model.transformer.text_model."
    assert f"{root}b.weight" in wired.tensors
    assert not any("text_projection" in name or "logit" in name for name in wired.tensors)
    assert wired.metadata["zoodip.text_activation"] == "gelu"
    assert wired.metadata["zoodip.text_layer"] == "2"
    assert wired.clip_skip == 2


def xl_wires(**more):
    state = TEXT | {name.replace("clip_l.", "clip_g."): tensor for name, tensor in TEXT.items()}
    wire = clip(names=("clip_l", "clip_g"), default=PENULTIMATE, **more)
    wire.patcher = Patcher(state)
    model = Patcher(UNET)
    model.model.diffusion_model.label_emb = torch.nn.Identity()
    return model, wire


def test_xl():
    model, wire = xl_wires()
    model.model.diffusion_model.num_heads, model.model.diffusion_model.num_head_channels = -1, 64
    wired = read_wires(model, wire, vae(), merge)
    assert "conditioner.embedders.0.transformer.text_model.b.weight" in wired.tensors
    assert "conditioner.embedders.1.transformer.text_model.b.weight" in wired.tensors
    # Only of the encoder whose pooled vector the UNet takes.
    projections = [name for name in wired.tensors if "text_projection" in name]
    assert projections == ["conditioner.embedders.1.transformer.text_projection.weight"]
    metadata = wired.metadata
    assert metadata["zoodip.unet_head_width"] == "64" and "zoodip.unet_heads" not in metadata
    assert "zoodip.text_activation" not in metadata
    assert metadata["zoodip.text_activation_2"] == "gelu"
    assert metadata["zoodip.text_heads"] == metadata["zoodip.text_heads_2"] == "12"
    assert (metadata["zoodip.text_layer"], metadata["zoodip.text_layer_2"]) == ("2", "2")


def test_clip_skip_of_xl():
    """Two is what the family takes by itself; one is before that, and is said of the encoders."""
    for layer_idx, skip, own in ((-2, 2, "2"), (-1, 1, "1"), (-3, 3, "2")):
        model, wire = xl_wires(layer_idx=layer_idx)
        wired = read_wires(model, wire, vae(), merge)
        assert wired.clip_skip == skip
        assert wired.metadata["zoodip.text_layer"] == own
        assert wired.metadata["zoodip.text_layer_2"] == own


def test_model_and_clip_of_different_families():
    model, wire = xl_wires()
    with pytest.raises(WireError, match="CLIP is that of Stable Diffusion XL.* takes none"):
        read_wires(Patcher(UNET), wire, vae(), merge)
    with pytest.raises(WireError, match="CLIP is that of Stable Diffusion 1.x.* takes one"):
        read_wires(model, clip(), vae(), merge)


OTHER_AUTOENCODERS = {
    "Stable Cascade": (vae({"x": torch.ones(1)}, "StageA"), "is StageA, which"),
    "Flux": (
        vae({"decoder.conv_in.weight": torch.ones(512, 16, 3, 3)}),
        "is AutoencoderKL with latents of 16 channels in place of 4, which",
    ),
    "its TAESD": (
        vae({"taesd_decoder.1.weight": torch.ones(64, 16, 3, 3)}, "TAESD"),
        "is TAESD with latents of 16 channels in place of 4, which",
    ),
    "video": (
        vae({"decoder.conv_in.weight": torch.ones(512, 4, 3, 3, 3)}),
        "is AutoencoderKL for video, which",
    ),
    "coarse": (
        vae({"decoder.conv_in.weight": torch.ones(512, 4, 3, 3)}),
        "is AutoencoderKL with latents of 16 pixels a side in place of 8, which",
    ),
}
OTHER_AUTOENCODERS["coarse"][0].downscale_ratio = 16


@pytest.mark.parametrize("name", OTHER_AUTOENCODERS)
def test_another_autoencoder_is_refused(name):
    other, said = OTHER_AUTOENCODERS[name]
    with pytest.raises(WireError, match=f"VAE: {said} is not supported. Wire the VAE of a Stable"):
        read_wires(Patcher(UNET), clip(), other, merge)


@pytest.mark.parametrize("missing", ["MODEL", "CLIP", "VAE"])
def test_an_empty_wire_is_named(missing):
    given = {"MODEL": Patcher(UNET), "CLIP": clip(), "VAE": vae()}
    given[missing] = None
    with pytest.raises(WireError, match=f"{missing}: is empty"):
        read_wires(*given.values(), merge)


def test_a_vae_around_nothing_is_empty():
    """As the host makes it of a checkpoint without one."""
    with pytest.raises(
        WireError, match="VAE: is empty; the checkpoint that it comes from has none"
    ):
        read_wires(Patcher(UNET), clip(), SimpleNamespace(first_stage_model=None), merge)
