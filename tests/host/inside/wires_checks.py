"""Reading MODEL, CLIP and VAE of the real host, and the engine beside its objects."""

import comfy.lora
import comfy.model_management
import comfy.model_sampling
import comfy.sd
import setup
import torch
from comfy_extras.nodes_model_advanced import ModelSamplingDiscrete
from comfyui_zoodip.node import demo_model, native, pictures, self_check, wires

TEXT = "cond_stage_model.transformer.text_model."
MODEL, CLIP, VAE = demo_model.LoadDemoModelZO.execute().result
merge = comfy.lora.calculate_weight


def read(model=MODEL, clip=CLIP, vae=VAE):
    return wires.read_wires(model, clip, vae, merge)


def with_lora(patcher, start: str, strength: float = 1.0, seed: int = 1):
    """Low-rank patches of all Linear and the first Conv2d layers, by the host's own LoRA code."""
    generator = torch.Generator().manual_seed(seed)
    keys, lora = {}, {}
    for key, weight in patcher.model_state_dict().items():
        if not key.startswith(start) or not key.endswith("weight") or weight.ndim not in (2, 4):
            continue
        if "embedding" in key:
            continue
        name = key.replace(".", "_")
        keys[name] = key
        down_shape = (2, *weight.shape[1:])
        up_shape = (weight.shape[0], 2, *[1] * (weight.ndim - 2))
        lora[f"{name}.lora_up.weight"] = torch.randn(up_shape, generator=generator) * 0.05
        lora[f"{name}.lora_down.weight"] = torch.randn(down_shape, generator=generator) * 0.05
        lora[f"{name}.alpha"] = torch.tensor(1.0)
    out = patcher.clone()
    added = out.add_patches(comfy.lora.load_lora(lora, keys), strength)
    assert set(added) == set(keys.values())
    return out


def with_text_lora(clip, strength: float = 1.0):
    out = clip.clone()
    out.patcher = with_lora(clip.patcher, "clip_l.transformer.text_model.", strength)
    return out


def host_weights(patcher) -> dict:
    """What the host itself computes with, once loaded."""
    comfy.model_management.load_models_gpu([patcher], force_patch_weights=True)
    return {key: value.clone() for key, value in patcher.model.state_dict().items()}


def check_merged_weights_are_the_hosts():
    patched, clip = with_lora(MODEL, "diffusion_model."), with_text_lora(CLIP)
    wired = read(patched, clip)
    mine = {name: tensor.get().clone() for name, tensor in wired.tensors.items()}
    unet, text = host_weights(patched), host_weights(clip.patcher)
    plain = {name: tensor.get() for name, tensor in read().tensors.items()}
    comfy.model_management.unload_all_models()
    changed = 0
    for name, tensor in mine.items():
        if name.startswith(wires.UNET):
            theirs = unet["diffusion_model." + name.removeprefix(wires.UNET)]
        elif name.startswith(TEXT):
            theirs = text["clip_l.transformer.text_model." + name.removeprefix(TEXT)]
        else:
            continue
        assert torch.allclose(tensor, theirs.float(), rtol=1e-5, atol=1e-7), name
        changed += not torch.equal(tensor, plain[name].float())
    assert changed > 50


def check_reading_twice_and_after_a_load_gives_the_same():
    """The base is read, not what a load has merged into the shared weights."""
    patched = with_lora(MODEL, "diffusion_model.")
    before = read(patched).digest()
    comfy.model_management.load_models_gpu([patched], force_patch_weights=True)
    assert read(patched).digest() == before
    assert read(patched.clone()).digest() == before
    plain_while_loaded = read().digest()
    comfy.model_management.unload_all_models()
    assert read(patched).digest() == before
    assert read().digest() == plain_while_loaded != before


def check_the_digest_follows_what_is_learned_on():
    digests = {
        "plain": read().digest(),
        "lora": read(with_lora(MODEL, "diffusion_model.")).digest(),
        "half": read(with_lora(MODEL, "diffusion_model.", 0.5)).digest(),
        "none": read(with_lora(MODEL, "diffusion_model.", 0.0)).digest(),
        "text": read(clip=with_text_lora(CLIP)).digest(),
        "text half": read(clip=with_text_lora(CLIP, 0.5)).digest(),
        "v": read(sampled("v_prediction", False)).digest(),
        "zsnr": read(sampled("eps", True)).digest(),
        "skip": read(clip=skipped(-2)).digest(),
    }
    # A LoRA of strength 0 is none.
    assert digests.pop("none") == digests["plain"]
    assert len(set(digests.values())) == len(digests)
    assert read(demo_model.LoadDemoModelZO.execute().result[0]).digest() == digests["plain"]


def sampled(kind: str, zsnr: bool):
    return ModelSamplingDiscrete().patch(MODEL, kind, zsnr)[0]


def check_prediction_and_schedule_are_those_of_the_patched_model():
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    expected = torch.cumprod(1 - betas, 0)
    for kind, name in (("eps", "epsilon"), ("v_prediction", "v")):
        wired = read(sampled(kind, False))
        assert wired.prediction == name
        assert torch.allclose(torch.tensor(wired.alphas_cumprod).double(), expected, rtol=1e-4)
    zero = read(sampled("v_prediction", True))
    assert zero.prediction == "v" and zero.alphas_cumprod[-1] < 1e-6
    assert all(a > b for a, b in zip(zero.alphas_cumprod, zero.alphas_cumprod[1:], strict=False))
    assert read().prediction == "epsilon", "the wire before the node is as it was"


def skipped(layer):
    clip = CLIP.clone()
    clip.clip_layer(layer)
    return clip


def states(clip, text="a photo of a dog"):
    return clip.encode_from_tokens(clip.tokenize(text)).float()


def check_clip_skip_is_read_as_the_host_computes():
    """The demo has two layers: -1 is the last, -2 the one before, what is beyond counts as -1."""
    for layer, skip in ((None, 1), (-1, 1), (-2, 2), (-3, 1), (-12, 1), (0, 2), (1, 1)):
        assert wires.clip_skip_of(skipped(layer)) == skip, layer
        same = torch.equal(states(skipped(layer)), states(skipped(-skip)))
        assert same, f"the host computes something else for {layer}"
    assert not torch.equal(states(skipped(-1)), states(skipped(-2)))


def relative(mine, theirs) -> float:
    return float((mine.double() - theirs.double()).norm() / theirs.double().norm())


def engine_beside_host(model, clip, vae, text="a photo of a dog", weights="dense") -> list[float]:
    """How far the engine's latents, text states and x0 are from the host's, as shares."""
    wired = read(model, clip, vae)
    generator = torch.Generator().manual_seed(0)
    (picture,) = pictures.pictures_from(torch.rand(1, 160, 128, 3, generator=generator))
    expected = self_check.expected_of(model, clip, vae, wired, picture.pixels, text)
    native_module = native.zoodip()._native
    source = wired.weights()
    listed = [(name, list(shape), kind) for name, shape, kind in source.tensors]
    opened = native_module.weights_from(
        source.description, dict(source.metadata), listed, source.get
    )
    with torch.inference_mode(False):
        encoder = native_module.LatentEncoder(opened, weights=weights)
        latent, _ = encoder.encode(expected.latent[0])
        heads = int(wired.metadata["zoodip.text_heads"])
        text_encoder = native_module.TextEncoder(opened, weights=weights, heads=heads)
        hidden, _ = text_encoder.forward(expected.text[0].ids, clip_skip=wired.clip_skip)
        heads = int(wired.metadata["zoodip.unet_heads"])
        unet = native_module.UNet(opened, weights=weights, heads=heads)
        z_t, t, context, x0, _ = expected.denoised
        out = unet.forward(z_t, torch.tensor([float(t)]), context)
    alpha = wired.alphas_cumprod[t]
    root, rest = alpha**0.5, (1 - alpha) ** 0.5
    mine = root * z_t - rest * out if wired.prediction == "v" else (z_t - rest * out) / root
    return [
        relative(latent, expected.latent[1]),
        relative(hidden, expected.text[1]),
        relative(mine, x0),
    ]


def check_the_engine_with_dense_weights_computes_what_the_host_does():
    cases = {
        "plain": (MODEL, CLIP, VAE),
        "lora": (with_lora(MODEL, "diffusion_model."), with_text_lora(CLIP), VAE),
        "skip": (MODEL, skipped(-2), VAE),
        "v": (sampled("v_prediction", False), CLIP, VAE),
        "v, zsnr": (sampled("v_prediction", True), CLIP, VAE),
        "eps, zsnr": (sampled("eps", True), CLIP, VAE),
    }
    for name, wired in cases.items():
        for part, share in zip(("latents", "text", "x0"), engine_beside_host(*wired), strict=True):
            assert share < 1e-4, f"{name}: {part} differ by {share:.2e}"


def check_the_engine_with_int8_weights_is_within_the_self_checks_bounds():
    for share, bound in zip(
        engine_beside_host(MODEL, CLIP, VAE, weights="int8"), (0.10, 0.05, 0.06), strict=True
    ):
        assert 1e-4 < share < bound / 2


def check_the_hosts_padded_vae_is_the_checkpoints_narrow_one():
    native_module = native.zoodip()._native
    path = setup.REPOSITORY / "demo" / "model" / "zoodip-demo.safetensors"
    generator = torch.Generator().manual_seed(3)
    pixels = torch.rand(1, 128, 128, 3, generator=generator)
    theirs = MODEL.model.process_latent_in(VAE.encode(pixels)).float()
    with torch.inference_mode(False):
        narrow = native_module.LatentEncoder(native_module.open_weights(path), weights="dense")
        mine, _ = narrow.encode(pixels.movedim(-1, 1).clone() * 2 - 1)
    assert relative(mine, theirs) < 1e-4


def check_the_hosts_vae_of_a_checkpoint_without_one_is_named():
    try:
        read(vae=comfy.sd.VAE(sd={}))
    except wires.WireError as error:
        assert str(error).startswith("VAE: is empty; the checkpoint that it comes from has none")
    else:
        raise AssertionError("a VAE without weights was read")


def check_what_reads_leaves_the_wires_as_they_were():
    patched, clip = with_lora(MODEL, "diffusion_model."), with_text_lora(CLIP)
    before = {key: value.clone() for key, value in MODEL.model.state_dict().items()}
    patches = {key: list(value) for key, value in patched.patches.items()}
    read(patched, clip).digest()
    assert patched.patches == patches
    assert all(torch.equal(before[k], v) for k, v in MODEL.model.state_dict().items())


def check_tensors_come_outside_of_inference_mode():
    for tensor in read(with_lora(MODEL, "diffusion_model.")).tensors.values():
        value = tensor.get()
        assert not value.is_inference() and not value.requires_grad


def check_nothing_touches_global_randomness():
    state = torch.get_rng_state()
    engine_beside_host(MODEL, CLIP, VAE)
    assert torch.equal(torch.get_rng_state(), state)
