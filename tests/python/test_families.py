"""Stable Diffusion 2.x and XL against diffusers and transformers on the same random weights: what a
text and sizes become, the UNet with its vector conditioning, the loss and its exact gradient.

Tolerances are those of test_models.py and test_exact_gradient.py, for the same reasons.
"""

from __future__ import annotations

import pytest
import torch
import zoodip
from diffusers import DDIMScheduler, DDPMScheduler, StableDiffusionXLPipeline
from make_checkpoint import (
    SCHEDULE,
    build_modules,
    to_original,
    write_checkpoint,
    write_diffusers_folder,
)
from random_modules import SHAPES
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from zoodip import _native

from demo.tokenizer import build_tokenizer

FORWARD, GRADIENT = 1e-4, 2e-4
CAPTIONS = ["a photo of a {}", "{} on a beach, near another {}"]
TIMESTEP = 437
SIDE = 128  # pixels


def relative_error(ours, reference):
    return ((ours - reference).abs().max() / reference.abs().max()).item()


class Model:
    """Reference modules and the engine's own of the same weights."""

    def __init__(self, name: str, seed: int = 8) -> None:
        self.name, self.shape = name, SHAPES[name]
        self.modules = build_modules(name, seed)
        self.source = _native.weights_in_memory(to_original(self.modules, self.shape.preset))
        self.encoders = [self.modules.text_encoder]
        if self.modules.text_encoder_2 is not None:
            self.encoders.append(self.modules.text_encoder_2)
        self.xl = len(self.encoders) == 2
        self.widths = [encoder.config.hidden_size for encoder in self.encoders]

    def own_encoders(self, weights="dense"):
        return [
            _native.TextEncoder(self.source, weights=weights, preset=self.shape.preset, index=i)
            for i in range(len(self.encoders))
        ]

    def own_unet(self, weights="dense", compute="fp32"):
        return _native.UNet(self.source, weights=weights, compute=compute, head_width=64)

    def own_objective(self, weights="dense", compute="fp32", **options):
        size = self.modules.unet.config.addition_time_embed_dim if self.xl else 0
        return _native.Objective(
            self.own_encoders(weights),
            self.own_unet(weights, compute),
            word="sks",
            captions=CAPTIONS,
            size_width=size,
            side=SIDE,
            **options,
        )

    def draw(self, rows):
        generator = torch.Generator().manual_seed(4)
        thetas = 0.1 * torch.randn(rows, sum(self.widths), generator=generator)
        z, eps = torch.randn(2, 1, 4, SIDE // 8, SIDE // 8, generator=generator)
        return thetas, z, eps

    # The reference, as the pipelines of diffusers compute it.

    def states(self, index, ids, embedded=None):
        """Hidden states that the UNet attends to, and the pooled vector or None."""
        encoder = self.encoders[index]
        pad = 0 if encoder.config.hidden_act == "gelu" else 49407
        ends = (ids == 49407).int()
        padded = torch.where((ends.cumsum(1) - ends) > 0, pad, ids).clamp(min=0)
        table = encoder.get_input_embeddings()
        looked_up = table.weight[padded]
        if embedded is not None:
            looked_up = torch.where((ids == -1)[..., None], embedded, looked_up)
        hook = table.register_forward_hook(lambda *_: looked_up)
        output = encoder(padded, output_hidden_states=True)
        hook.remove()
        states = output.hidden_states[-2]
        if not self.xl:
            norm = next(m for n, m in encoder.named_modules() if n.endswith("final_layer_norm"))
            return norm(states), None
        return states, getattr(output, "text_embeds", None)

    def conditioning(self, ids, theta=None):
        parts = [None] * len(self.encoders) if theta is None else theta.split(self.widths)
        found = [self.states(i, ids, part) for i, part in enumerate(parts)]
        context = torch.cat([states for states, _ in found], -1)
        return context, found[-1][1]

    def output(self, z_t, context, pooled, sizes=(SIDE, SIDE, 0, 0, SIDE, SIDE)):
        added = {}
        if self.xl:
            sizes = torch.tensor([sizes], dtype=torch.float32)
            added = {"text_embeds": pooled, "time_ids": sizes.expand(len(pooled), -1)}
        return self.modules.unet(
            z_t, torch.tensor([TIMESTEP]), context, added_cond_kwargs=added
        ).sample

    def loss(self, caption, theta, z, eps, prediction="epsilon", detach=(), **sizes):
        scheduler = DDPMScheduler.from_config(SCHEDULE)
        timestep = torch.tensor([TIMESTEP])
        target = eps if prediction == "epsilon" else scheduler.get_velocity(z, eps, timestep)
        context, pooled = self.conditioning(ids_of(caption), theta)
        context = context.detach() if "context" in detach else context
        pooled = pooled.detach() if "pooled" in detach and pooled is not None else pooled
        output = self.output(scheduler.add_noise(z, eps, timestep), context, pooled, **sizes)
        return (target - output).double().square().mean()


def ids_of(caption):
    """Ids [1, 77] with -1 in the word's places."""
    pieces = [_native.Tokenizer().encode(piece) for piece in caption.split("{}")]
    ids = [49406, *pieces[0], *(i for piece in pieces[1:] for i in [-1, *piece]), 49407]
    return torch.tensor(ids + [49407] * (77 - len(ids)))[None]


@pytest.fixture(scope="module", params=["tiny-sd2", "tiny-xl"])
def model(request):
    return Model(request.param)


@pytest.fixture(scope="module")
def xl():
    return Model("tiny-xl")


def test_the_family_is_told_with_all_that_its_file_says(model):
    found = model.source.architecture()
    assert (
        found["family"]
        == {"tiny-sd2": "Stable Diffusion 2.x", "tiny-xl": "Stable Diffusion XL"}[model.name]
    )
    assert [one["width"] for one in found["text_encoders"]] == model.widths
    assert [one["key"] for one in found["text_encoders"]] == (
        ["clip_l", "clip_g"] if model.xl else ["clip_h"]
    )
    assert found["preset"] == model.shape.preset and found["unet_head_width"] == 64
    assert found["latent_scale"] == (0.13025 if model.xl else 0.18215)
    assert found["resolution"] == (1024 if model.xl else 512)
    assert found["size_width"] == (32 if model.xl else 0)
    model.source.require_whole(encoder=True, decoder=True)
    assert model.source.unread() == []


def test_a_diffusers_folder_is_the_same_model(model, tmp_path):
    folder = tmp_path / "folder"
    write_diffusers_folder(folder, model.shape, seed=8)
    source = _native.open_weights(str(folder))
    source.require_whole(encoder=True, decoder=True)
    assert source.unread() == []
    found, expected = source.architecture(), model.source.architecture()
    for name in ("family", "preset", "latent_scale", "size_width"):
        assert found[name] == expected[name], name
    # The pipeline for one encoder takes what is last in a folder, for two the one before.
    assert [one["layer"] for one in found["text_encoders"]] == ([2, 2] if model.xl else [1])
    ids = ids_of(CAPTIONS[0]).clamp(min=0)
    own = _native.TextEncoder(source, weights="dense", preset=model.shape.preset, index=0)
    states, _ = own.forward(ids)
    if model.xl:
        with torch.no_grad():
            assert relative_error(states, model.states(0, ids)[0]) <= FORWARD


def test_text(model):
    ids = ids_of("a photo of a dog, near a house")
    for index, own in enumerate(model.own_encoders()):
        hidden, pooled = own.forward(ids)
        with torch.no_grad():
            expected, expected_pooled = model.states(index, ids)
        assert relative_error(hidden, expected) <= FORWARD
        assert (pooled is None) == (expected_pooled is None)
        if pooled is not None:
            assert relative_error(pooled, expected_pooled) <= FORWARD


def test_clip_skip_begins_behind_the_own_layer(model):
    ids = ids_of("a photo of a dog")
    own = model.own_encoders()[-1]
    plain = own.forward(ids)[0]
    assert torch.equal(own.forward(ids, clip_skip=2)[0], plain)
    assert not torch.equal(own.forward(ids, clip_skip=3)[0], plain)


def test_unet(model):
    generator = torch.Generator().manual_seed(2)
    sample = torch.randn(3, 4, 16, 24, generator=generator)
    context = torch.randn(3, 77, sum(model.widths), generator=generator)
    pooled = torch.randn(3, 96, generator=generator) if model.xl else None
    with torch.no_grad():
        expected = model.output(sample, context, pooled)
    y = None
    if model.xl:
        sizes = torch.tensor([SIDE, SIDE, 0, 0, SIDE, SIDE], dtype=torch.float32)
        frequencies = torch.exp(-torch.log(torch.tensor(10000.0)) * torch.arange(16) / 16)
        angles = sizes[:, None] * frequencies
        embedded = torch.cat([angles.cos(), angles.sin()], 1).flatten()
        y = torch.cat([pooled, embedded.expand(3, -1)], 1)
    ours = model.own_unet().forward(sample, torch.tensor([float(TIMESTEP)]), context, y)
    assert relative_error(ours, expected) <= FORWARD


def test_vector_conditioning_is_asked_for_and_refused(model):
    sample, context = torch.randn(1, 4, 16, 16), torch.randn(1, 77, sum(model.widths))
    unet = model.own_unet()
    with pytest.raises(_native.Error, match="vector conditioning"):
        unet.forward(sample, torch.tensor([5.0]), context, None if model.xl else torch.zeros(1, 8))


@pytest.mark.parametrize("prediction", ["epsilon", "v"])
def test_losses(model, prediction):
    thetas, z, eps = model.draw(3)
    objective = model.own_objective(prediction=prediction)
    for picture, caption in enumerate(CAPTIONS):
        with torch.no_grad():
            expected = [model.loss(caption, theta, z, eps, prediction) for theta in thetas]
        ours = objective.losses(thetas, picture, TIMESTEP, z, eps)
        assert torch.allclose(ours, torch.stack(expected), rtol=1e-4, atol=0)


def test_each_picture_s_own_sizes_are_told(xl):
    thetas, z, eps = xl.draw(1)
    sizes = [
        ((300, 200, 32, 0, SIDE, SIDE), (300, 200, 32, 1, SIDE, SIDE)),
        ((90, 91, 0, 0, SIDE, SIDE), (90, 91, 0, 1, SIDE, SIDE)),
    ]
    objective = xl.own_objective(sizes=sizes)
    for picture, caption in enumerate(CAPTIONS):
        for mirrored in (False, True):
            with torch.no_grad():
                told = sizes[picture][mirrored]
                expected = xl.loss(caption, thetas[0], z, eps, sizes=told).item()
            ours = objective.losses(thetas, picture, TIMESTEP, z, eps, mirrored=mirrored)
            assert ours.item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("compute", ["fp32", "bf16"])
@pytest.mark.parametrize("weights", ["int8", "int4", "dense"])
def test_a_row_s_loss_has_the_same_bits_anywhere(xl, weights, compute):
    """Although every row's embedding of the pooled text is its own."""
    thetas, z, eps = xl.draw(4)
    objective = xl.own_objective(weights, compute)

    def losses(order):
        return objective.losses(thetas[order], 1, 300, z, eps)

    whole = losses([0, 1, 2])
    assert len(set(whole.tolist())) == 3
    assert torch.equal(losses([2, 0, 1]), whole[[2, 0, 1]])
    assert losses([3, 0, 3])[1] == whole[0]


def gradient_of(model, caption, theta, z, eps, **options):
    leaf = theta.clone().requires_grad_()
    loss = model.loss(caption, leaf, z, eps, **options)
    return loss.item(), torch.autograd.grad(loss, leaf)[0]


@pytest.mark.parametrize("picture", [0, 1], ids=["one place", "two places"])
def test_exact_gradient(model, picture):
    thetas, z, eps = model.draw(1)
    objective = model.own_objective()
    loss, gradient = objective.gradient(thetas[0], picture, TIMESTEP, z, eps)
    expected = gradient_of(model, CAPTIONS[picture], thetas[0], z, eps)
    assert loss == pytest.approx(expected[0], rel=1e-4)
    assert loss == objective.losses(thetas, picture, TIMESTEP, z, eps).item()
    assert (gradient - expected[1]).norm() <= GRADIENT * expected[1].norm()


def test_the_gradient_comes_through_the_pooled_vector_too(xl):
    """What is left of the whole gradient without the way through the context is that of y alone: a
    vector that is taken for a constant would leave nothing."""
    thetas, z, eps = xl.draw(1)
    _, whole = xl.own_objective().gradient(thetas[0], 0, TIMESTEP, z, eps)
    _, through_context = gradient_of(xl, CAPTIONS[0], thetas[0], z, eps, detach=("pooled",))
    _, through_pooled = gradient_of(xl, CAPTIONS[0], thetas[0], z, eps, detach=("context",))
    narrow = xl.widths[0]
    assert through_pooled[:narrow].abs().max() == 0  # the first encoder makes none
    rest = whole - through_context
    # Differences of two gradients: each is off by its own bound.
    bound = GRADIENT * (whole.norm() + through_context.norm())
    assert through_pooled.norm() > 50 * bound, "the test would not see it"
    assert (rest - through_pooled).norm() <= bound


def test_the_gradient_through_quantised_weights(xl):
    """By differences of our own losses, in float32 products: a central difference of step h is off
    by rounding, 1e-7 of the loss over h, and by curvature."""
    thetas, z, eps = xl.draw(1)
    objective = xl.own_objective("int8")
    loss, gradient = objective.gradient(thetas[0], 0, TIMESTEP, z, eps)
    for part in (slice(0, xl.widths[0]), slice(xl.widths[0], None)):
        direction = torch.zeros_like(thetas[0])
        direction[part] = gradient[part] / gradient[part].norm()
        h = 1e-2
        points = torch.stack([thetas[0] + h * direction, thetas[0] - h * direction])
        above, below = objective.losses(points, 0, TIMESTEP, z, eps).tolist()
        slope = (above - below) / (2 * h)
        assert slope == pytest.approx((gradient @ direction).item(), rel=0.02)


# --- whole runs -----------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["tiny-sd2", "tiny-xl"])
def checkpoint(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("families") / f"{request.param}.safetensors"
    write_checkpoint(path, request.param)
    return path


def train(model, images, out, resume=False, **settings):
    defaults = {"resolution": 128, "steps": 4, "compute": "fp32"}
    return zoodip.train(model, images, "zwx", "dog", out, resume=resume, **defaults | settings)


def test_a_word_is_learned_and_drawn(checkpoint, images, tmp_path, run):
    token = tmp_path / "zwx.safetensors"
    train(checkpoint, images, token)
    with safe_open(token, "pt") as file:
        shapes = {name: tuple(file.get_tensor(name).shape) for name in file.keys()}  # noqa: SIM118
    two = {"clip_l": (1, 64), "clip_g": (1, 128)}
    assert shapes == (two if "xl" in checkpoint.name else {"clip_h": (1, 128)})
    words = [
        "sample",
        "--model",
        checkpoint,
        "--prompt",
        "a zwx",
        "--width",
        "64",
        "--height",
        "64",
    ]
    words += ["--steps", "2"]
    drawn = []
    for extra in (["--token", token], []):
        picture = tmp_path / f"{len(extra)}.png"
        told = run([*words, "--out", picture, *extra])
        assert told.returncode == 0, told.stderr
        drawn.append(picture.read_bytes())
    assert drawn[0] != drawn[1]


def test_a_model_is_told_the_sizes_of_the_files_where_asked(tmp_path, images, caplog):
    """Pictures of 64 x 64 alone: told of as such they are not what the squares of 128 are."""
    thetas = {}
    for name in ("tiny-xl", "tiny-sd2"):
        write_checkpoint(tmp_path / name, name)
        for sizes in ("training", "original"):
            out = tmp_path / f"{name}-{sizes}.safetensors"
            with caplog.at_level("INFO", logger="zoodip"):
                train(tmp_path / name, images, out, picture_sizes=sizes)
            with safe_open(out, "pt") as file:
                thetas[name, sizes] = file.get_tensor(next(iter(file.keys())))
    assert not torch.equal(thetas["tiny-xl", "training"], thetas["tiny-xl", "original"])
    assert torch.equal(thetas["tiny-sd2", "training"], thetas["tiny-sd2", "original"])
    assert "picture_sizes: Stable Diffusion 2.x is told no sizes" in caplog.text


def test_a_run_goes_on_with_the_same_bits(checkpoint, images, tmp_path):
    whole, halves = tmp_path / "whole.safetensors", tmp_path / "halves.safetensors"
    train(checkpoint, images, whole)
    train(checkpoint, images, halves, steps=2)
    train(checkpoint, images, halves, resume=True)
    with safe_open(whole, "pt") as one, safe_open(halves, "pt") as other:
        for name in one.keys():  # noqa: SIM118
            assert torch.equal(one.get_tensor(name), other.get_tensor(name))


def test_words_of_other_families_are_refused(checkpoint, images, tmp_path, run):
    other = "tiny-sd2" if "xl" in checkpoint.name else "tiny-xl"
    model = tmp_path / "other.safetensors"
    write_checkpoint(model, other)
    token = tmp_path / "zwx.safetensors"
    train(checkpoint, images, token)
    told = run(["sample", "--model", model, "--prompt", "zwx", "--token", token, "--out", "x.png"])
    assert told.returncode == 1
    assert "It was made for another family of models" in told.stderr


def test_half_a_word_is_said(tmp_path, run):
    model, token = tmp_path / "xl.safetensors", tmp_path / "zwx.safetensors"
    write_checkpoint(model, "tiny-xl")
    save_file({"clip_g": torch.zeros(1, 128)}, token)
    told = run(["sample", "--model", model, "--prompt", "zwx", "--token", token, "--out", "x.png"])
    assert told.returncode == 1
    assert "is half a word" in told.stderr and "lacks clip_l" in told.stderr


def test_a_distilled_model_is_warned_of(images, tmp_path, run):
    model = tmp_path / "someXL_Lightning_4step.safetensors"
    write_checkpoint(model, "tiny-xl")
    words = ["train", "--model", model, "--images", images, "--word", "zwx", "--init", "dog"]
    words += ["--out", tmp_path / "zwx.safetensors", "--steps", "1", "--resolution", "64"]
    told = run(words)
    assert told.returncode == 0, told.stderr
    assert "is a distilled model, by 'lightning'" in told.stderr


def test_diffusers_pipeline_of_xl_knows_both_halves_of_a_word(images, tmp_path):
    """Its states and pooled vector of a prompt with the word are ours."""
    model = Model("tiny-xl")
    checkpoint, token = tmp_path / "xl.safetensors", tmp_path / "zwx.safetensors"
    write_checkpoint(checkpoint, "tiny-xl", seed=8, dtype=torch.float32)
    train(checkpoint, images, token, learning_rate=0.1)
    vectors = load_file(token)
    second = build_tokenizer()
    second.pad_token = "!"  # id 0
    pipeline = StableDiffusionXLPipeline(
        model.modules.vae,
        *model.encoders,
        build_tokenizer(),
        second,
        model.modules.unet,
        DDIMScheduler(**SCHEDULE),
        add_watermarker=False,
    )
    pairs = zip(
        ("clip_l", "clip_g"),
        model.encoders,
        (pipeline.tokenizer, pipeline.tokenizer_2),
        strict=True,
    )
    plain = pipeline.encode_prompt("a photo of zwx", do_classifier_free_guidance=False)[0]
    for key, encoder, tokenizer in pairs:
        pipeline.load_textual_inversion(
            vectors[key], token="zwx", text_encoder=encoder, tokenizer=tokenizer
        )
    states, _, pooled, _ = pipeline.encode_prompt(
        "a photo of zwx", do_classifier_free_guidance=False
    )
    assert not torch.allclose(states, plain, atol=1e-3)
    ids = torch.tensor([[49406, 320, 1125, 539, 0, 49407, *[49407] * 71]])
    ours = [
        encoder.forward(ids, positions=[4], vectors=vectors[key][None])
        for key, encoder in zip(("clip_l", "clip_g"), model.own_encoders(), strict=True)
    ]
    assert relative_error(torch.cat([one[0] for one in ours], -1), states) <= FORWARD
    assert relative_error(ours[1][1], pooled) <= FORWARD
