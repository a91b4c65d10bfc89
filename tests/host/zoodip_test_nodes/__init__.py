"""Nodes for these tests alone: models, CLIPs, VAEs and pictures of kinds that are hard to come by,
and hashes of what a wire holds."""

import copy
import hashlib

import comfy.lora
import comfy.model_patcher
import comfy.patcher_extension
import comfy.utils
import torch


class Quantised(torch.Tensor):
    """As GGUF loaders have: a subclass that computes elsewhere."""


def own_model(patcher):
    """A clone whose weights are its own."""
    with torch.inference_mode(False):
        out = patcher.clone()
        # Newer hosts' configurations cannot be copied.
        config = getattr(patcher.model, "model_config", None)
        out.model = copy.deepcopy(patcher.model, {id(config): config})
        return out


def with_weight(patcher, key, change):
    out = own_model(patcher)
    with torch.inference_mode(False):
        weight = comfy.utils.get_attr(out.model, key)
        changed = torch.nn.Parameter(change(weight.detach().clone()), requires_grad=False)
        comfy.utils.set_attr(out.model, key, changed)
    return out


def random_lora(patcher, start, size, seed=1):
    """Low-rank patches of every Linear layer below `start`, each `size` of its weight's norm."""
    generator = torch.Generator().manual_seed(seed)
    patches = {}
    for key, weight in patcher.model_state_dict().items():
        if key.startswith(start) and key.endswith("weight") and weight.ndim == 2:
            if "embedding" in key:
                continue
            rows = torch.randn(weight.shape[0], 4, generator=generator)
            change = rows @ torch.randn(4, weight.shape[1], generator=generator)
            patches[key] = ("diff", (change / change.norm() * weight.float().norm() * size,))
    out = patcher.clone()
    out.add_patches(patches, 1.0)
    return out


def hide_patches(patcher):
    """What the patcher computes with stays; what it says of it leaves the patches out."""
    told = patcher.get_key_patches
    patcher.get_key_patches = lambda start=None: {k: v[:1] for k, v in told(start).items()}
    return patcher


UNET_KEY = "diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_k.weight"
TEXT_KEY = "clip_l.transformer.text_model.encoder.layers.0.mlp.fc1.weight"


def inpaint(patcher):
    out = own_model(patcher)
    with torch.inference_mode(False):
        conv = out.model.diffusion_model.input_blocks[0][0]
        wide = torch.zeros(conv.out_channels, 9, 3, 3)
        wide[:, :4] = conv.weight
        conv.weight, conv.in_channels = torch.nn.Parameter(wide, requires_grad=False), 9
        out.model.concat_keys = ("mask", "masked_image")
    return out


def attention_patch(patcher):
    out = patcher.clone()
    out.set_model_attn2_replace(lambda q, k, v, extra: q, "middle", 0)
    return out


def wrapper(patcher):
    out = patcher.clone()
    out.add_wrapper_with_key(
        comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL,
        "zoodip_test",
        lambda executor, *args, **kwargs: executor(*args, **kwargs) * 0.5,
    )
    return out


def other_family(patcher):
    out = own_model(patcher)
    out.model.diffusion_model = torch.nn.Linear(4, 4)
    return out


def many_heads(patcher):
    out = own_model(patcher)
    out.model.diffusion_model.num_heads = -1
    out.model.diffusion_model.num_head_channels = 64
    return out


def injection(patcher):
    """As bypass LoRAs and other packages put themselves into a forward pass."""
    out = patcher.clone()
    nothing = comfy.patcher_extension.PatcherInjection(lambda _: None, lambda _: None)
    out.set_injections("zoodip_test", [nothing])
    return out


def weight_function(patcher, key):
    out = patcher.clone()
    out.add_weight_wrapper(key, lambda weight: weight * 0.5)
    return out


def forward_hook(patcher):
    out = own_model(patcher)
    out.model.diffusion_model.out[2].register_forward_hook(lambda _, __, found: found * 0.5)
    return out


def replaced_method(patcher):
    out = own_model(patcher)
    computes = out.model.apply_model
    out.model.apply_model = lambda *given, **named: computes(*given, **named) * 0.5
    return out


MODELS = {
    "injection": injection,
    "weight function": lambda m: weight_function(m, UNET_KEY),
    "forward hook": forward_hook,
    "replaced method": replaced_method,
    "float8": lambda m: with_weight(m, UNET_KEY, lambda w: w.to(torch.float8_e4m3fn)),
    "quantised": lambda m: with_weight(m, UNET_KEY, lambda w: w.as_subclass(Quantised)),
    "meta": lambda m: with_weight(m, UNET_KEY, lambda w: w.to("meta")),
    "nan": lambda m: with_weight(m, UNET_KEY, lambda w: w * float("nan")),
    "inpaint": inpaint,
    "attention patch": attention_patch,
    "wrapper": wrapper,
    "function wrapper": lambda m: _set_function_wrapper(m.clone()),
    "other family": other_family,
    "64 channels a head": many_heads,
    "lora": lambda m: random_lora(m, "diffusion_model.", 0.2),
    "hidden lora": lambda m: hide_patches(random_lora(m, "diffusion_model.", 0.5)),
    "v taken for eps": lambda m: _v_as_eps(m.clone()),
    "none": lambda m: None,
}


def _set_function_wrapper(patcher):
    patcher.set_model_unet_function_wrapper(lambda apply, given: apply(given["input"]))
    return patcher


def _v_as_eps(patcher):
    """Its objects compute with v; what training is told is eps."""
    import comfy.model_sampling

    class Told(comfy.model_sampling.ModelSamplingDiscrete, comfy.model_sampling.EPS):
        calculate_denoised = comfy.model_sampling.V_PREDICTION.calculate_denoised

    out = own_model(patcher)
    out.model.model_sampling = Told(out.model.model_config)
    return out


class TestModel:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("MODEL",), "kind": (list(MODELS),)}}

    RETURN_TYPES, FUNCTION, CATEGORY = ("MODEL",), "make", "test"

    def make(self, model, kind):
        return (MODELS[kind](model),)


def sdxl_like(clip):
    out = clip.clone()
    out.cond_stage_model = torch.nn.Module()
    out.cond_stage_model.clip_l = clip.cond_stage_model.clip_l
    out.cond_stage_model.clip_g = clip.cond_stage_model.clip_l
    return out


def patched_clip(change):
    def made(clip):
        out = clip.clone()
        out.patcher = change(out.patcher)
        return out

    return made


def skip_taken_for_last(clip):
    """Computes with clip skip 2; what training is told is the last layer."""

    class Skipping(type(clip)):
        def encode_from_tokens(self, *given, **named):
            encode = clip.clone()
            encode.clip_layer(-2)
            return encode.encode_from_tokens(*given, **named)

    out = clip.clone()
    out.__class__ = Skipping
    return out


def replaced_encoding(clip):
    out = clip.clone()
    out.encode_from_tokens = clip.clone().encode_from_tokens
    return out


CLIPS = {
    "injection": patched_clip(injection),
    "weight function": patched_clip(lambda p: weight_function(p, TEXT_KEY)),
    "replaced method": replaced_encoding,
    "float8": patched_clip(lambda p: with_weight(p, TEXT_KEY, lambda w: w.to(torch.float8_e4m3fn))),
    "sdxl-like": sdxl_like,
    "hidden lora": patched_clip(
        lambda p: hide_patches(random_lora(p, "clip_l.transformer.text_model", 0.5))
    ),
    "skip 2 taken for last": skip_taken_for_last,
    "none": lambda clip: None,
}


class TestClip:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"clip": ("CLIP",), "kind": (list(CLIPS),)}}

    RETURN_TYPES, FUNCTION, CATEGORY = ("CLIP",), "make", "test"

    def make(self, clip, kind):
        return (CLIPS[kind](clip),)


class ScaledVae:
    """Latents of another scale than those that its weights give."""

    def __init__(self, vae):
        self.__dict__.update(vae.__dict__)
        self._of = vae

    def __getattr__(self, name):
        return getattr(self.__dict__["_of"], name)

    def encode(self, pixels):
        return self._of.encode(pixels) * 1.3


def replaced_encoder(vae):
    out = copy.copy(vae)
    out.encode = lambda pixels: vae.encode(pixels) * 1.3
    return out


def changed_vae(change):
    def made(vae):
        out = copy.copy(vae)
        out.patcher = change(vae.patcher)
        return out

    return made


def sixteen_channels(vae):
    """The autoencoder of Stable Diffusion 3 and Flux, as far as its decoder tells."""
    out = copy.copy(vae)
    with torch.inference_mode(False):
        out.first_stage_model = torch.nn.ModuleDict({"decoder": torch.nn.Module()})
        out.first_stage_model["decoder"].conv_in = torch.nn.Conv2d(16, 8, 3)
    return out


VAES = {
    "injection": changed_vae(injection),
    "replaced method": replaced_encoder,
    "16 channels": sixteen_channels,
    "wrong scale": ScaledVae,
    "none": lambda vae: None,
}


class TestVae:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"vae": ("VAE",), "kind": (list(VAES),)}}

    RETURN_TYPES, FUNCTION, CATEGORY = ("VAE",), "make", "test"

    def make(self, vae, kind):
        return (VAES[kind](vae),)


def _pictures(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


IMAGES = {
    "plain": lambda: _pictures(2, 96, 80, 3),
    "nan": lambda: torch.full((1, 64, 64, 3), float("nan")),
    "empty": lambda: torch.zeros(0, 64, 64, 3),
    "one pixel": lambda: torch.zeros(1, 1, 1, 3),
    "one channel": lambda: torch.zeros(1, 64, 64, 1),
    "mask": lambda: torch.zeros(1, 64, 64),
    "with opacity": lambda: _pictures(2, 64, 64, 4),
    "wild values": lambda: (_pictures(1, 64, 64, 3) - 0.5) * 1e30,
}


class TestImages:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"kind": (list(IMAGES),)}}

    RETURN_TYPES, FUNCTION, CATEGORY = ("IMAGE",), "make", "test"

    def make(self, kind):
        return (IMAGES[kind](),)


class TestImageList:
    """Pictures of different sizes, as dataset nodes give them."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    RETURN_TYPES, FUNCTION, CATEGORY = ("IMAGE",), "make", "test"
    OUTPUT_IS_LIST = (True,)

    def make(self):
        return ([_pictures(1, 96, 80, 3), _pictures(2, 64, 128, 3)],)


class TestCaptionList:
    """A list of captions, as dataset nodes give them; an empty one is that of a picture without."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"captions": ("STRING", {"multiline": True})}}

    RETURN_TYPES, FUNCTION, CATEGORY = ("STRING",), "make", "test"
    OUTPUT_IS_LIST = (True,)

    def make(self, captions):
        return (captions.split("\n"),)


class TestTextStates:
    """The hash of a text's states by a CLIP."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"clip": ("CLIP",), "text": ("STRING",)}}

    RETURN_TYPES, FUNCTION, CATEGORY = (), "look", "test"
    OUTPUT_NODE = True

    def look(self, clip, text):
        states, pooled = clip.encode_from_tokens(clip.tokenize(text), return_pooled=True)
        found = hashlib.sha256(states.float().cpu().numpy().tobytes())
        found.update(pooled.float().cpu().numpy().tobytes())
        return {"ui": {"zoodip_text": [found.hexdigest()]}}


class TestLosses:
    """What a loss map and the count of steps hold."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"loss_map": ("LOSS_MAP",), "steps": ("INT", {"forceInput": True})}}

    RETURN_TYPES, FUNCTION, CATEGORY = (), "look", "test"
    OUTPUT_NODE = True

    def look(self, loss_map, steps):
        return {"ui": {"losses": [float(loss) for loss in loss_map["loss"]], "steps": [steps]}}


NODE_CLASS_MAPPINGS = {
    "ZTestModel": TestModel,
    "ZTestClip": TestClip,
    "ZTestVae": TestVae,
    "ZTestImages": TestImages,
    "ZTestImageList": TestImageList,
    "ZTestCaptionList": TestCaptionList,
    "ZTestTextStates": TestTextStates,
    "ZTestLosses": TestLosses,
}
