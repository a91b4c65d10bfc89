"""The exact gradient of the loss of a word: against torch's autograd through diffusers' UNet and
transformers' text encoder on the same weights, and against differences of our own losses.

Tolerance in float32: a forward pass is off by at most 1e-4 (test_models.py), a gradient is a sum of
products of what the forward pass made and walks as many layers again, so 2e-4 of the gradient's
norm. A mistake (a path left out, a constant that is none) shows at 1e-2 and more.
"""

from __future__ import annotations

import copy
import math

import pytest
import torch
from diffusers import DDPMScheduler
from make_checkpoint import SCHEDULE, build_modules, to_original
from torch import nn
from zoodip import _native

TOLERANCE = 2e-4
TIMESTEP = 437
CAPTIONS = ["a photo of a {}", "{} on a beach, near another {}"]


@pytest.fixture(scope="module")
def model():
    modules = build_modules("tiny", seed=8, parts=["unet", "text_encoder"])
    return modules, _native.weights_in_memory(to_original(modules))


@pytest.fixture(scope="module")
def dequantized(model):
    """The modules with the weights that INT8 stands for."""
    modules = copy.deepcopy(model[0])
    for part in (modules.unet, modules.text_encoder):
        for layer in part.modules():
            if isinstance(layer, nn.Linear | nn.Conv2d):
                packed = _native.quantize(layer.weight.detach(), "int8")
                dense = _native.dequantize(packed, "int8")
                layer.weight = nn.Parameter(dense, requires_grad=False)
    return modules


def make_objective(source, weights="dense", compute="fp32", captions=CAPTIONS, **options):
    return _native.Objective(
        [_native.TextEncoder(source, weights=weights, heads=1)],
        _native.UNet(source, weights=weights, compute=compute),
        word="sks",
        captions=captions,
        **options,
    )


def draw(vectors=1):
    generator = torch.Generator().manual_seed(4)
    theta = 0.1 * torch.randn(vectors * 64, generator=generator)
    z, eps = torch.randn(2, 1, 4, 16, 16, generator=generator)
    return theta, z, eps


def ids_of(caption, vectors=1):
    """Ids [1, 77] with -1, -2, ... in the places of the word's vectors."""
    pieces = [_native.Tokenizer().encode(piece) for piece in caption.split("{}")]
    word = [-1 - i for i in range(vectors)]
    ids = [49406, *pieces[0], *(i for piece in pieces[1:] for i in [*word, *piece]), 49407]
    return torch.tensor(ids + [49407] * (77 - len(ids)))[None]


def states_at(text_encoder, ids, embedded, clip_skip):
    """The text encoder's states with `embedded` for what it looks up."""
    table = text_encoder.get_input_embeddings()
    # The look-up is replaced for this call; everything after it is the reference's own.
    hook = table.register_forward_hook(lambda *_: embedded)
    states = text_encoder(ids.clamp(min=0), output_hidden_states=True).hidden_states[-clip_skip]
    hook.remove()
    norm = next(m for n, m in text_encoder.named_modules() if n.endswith("final_layer_norm"))
    return norm(states)


def differentiate(modules, ids, theta, z, eps, prediction="epsilon", clip_skip=1, fixed=()):
    """Loss and gradient by torch's autograd; fixed: (position, vector) pairs."""
    leaf = theta.clone().requires_grad_()
    table = modules.text_encoder.get_input_embeddings().weight
    embedded = table[ids.clamp(min=0)]
    for i, vector in enumerate(leaf.view(-1, table.shape[1])):
        embedded = torch.where((ids == -1 - i)[..., None], vector, embedded)
    for position, vector in fixed:
        embedded = torch.cat(
            [embedded[:, :position], vector[None, None], embedded[:, position + 1 :]], 1
        )
    context = states_at(modules.text_encoder, ids, embedded, clip_skip)
    scheduler = DDPMScheduler.from_config(SCHEDULE)
    timestep = torch.tensor([TIMESTEP])
    target = eps if prediction == "epsilon" else scheduler.get_velocity(z, eps, timestep)
    z_t = scheduler.add_noise(z, eps, timestep)
    unet = modules.unet
    output = unet(z_t.to(unet.dtype), timestep, context.to(unet.dtype)).sample.float()
    loss = (target - output).double().square().mean()
    return loss.item(), torch.autograd.grad(loss, leaf)[0]


def distance(ours, reference):
    return ((ours - reference).norm() / reference.norm()).item()


def assert_equal_gradients(ours, reference, tolerance=TOLERANCE):
    assert ours[1].dtype == torch.float32
    assert ours[1].shape == reference[1].shape
    assert ours[0] == pytest.approx(reference[0], rel=1e-4)
    assert distance(ours[1], reference[1]) <= tolerance


@pytest.mark.parametrize("clip_skip", [1, 2])
@pytest.mark.parametrize("prediction", ["epsilon", "v"])
@pytest.mark.parametrize("picture", [0, 1], ids=["one place", "two places"])
def test_equal_to_autograd(model, prediction, clip_skip, picture):
    modules, source = model
    theta, z, eps = draw()
    objective = make_objective(source, prediction=prediction, clip_skip=clip_skip)
    ids = ids_of(CAPTIONS[picture])
    reference = differentiate(modules, ids, theta, z, eps, prediction, clip_skip)
    assert_equal_gradients(objective.gradient(theta, picture, TIMESTEP, z, eps), reference)


@pytest.mark.parametrize("picture", [0, 1])
def test_through_quantized_weights(model, dequantized, picture):
    theta, z, eps = draw()
    ours = make_objective(model[1], "int8").gradient(theta, picture, TIMESTEP, z, eps)
    ids = ids_of(CAPTIONS[picture])
    assert_equal_gradients(ours, differentiate(dequantized, ids, theta, z, eps))
    # Not those of the weights before: the step of a weight is 1/127 of its row's largest.
    before = differentiate(model[0], ids, theta, z, eps)
    assert distance(ours[1], before[1]) > 10 * TOLERANCE


def test_several_vectors_beside_the_vectors_of_another_word(model):
    modules, source = model
    theta, z, eps = draw(vectors=3)
    ids = ids_of("a {} and another {}", vectors=3)
    places = [i for i, value in enumerate(ids[0].tolist()) if value == -1]
    fixed = [(12, torch.randn(64, generator=torch.Generator().manual_seed(9)))]
    text = _native.PreparedText(
        ids.clamp(min=0), places, [at for at, _ in fixed], {"": torch.stack([v for _, v in fixed])}
    )
    objective = make_objective(source, captions=[text], vectors=3)
    reference = differentiate(modules, ids, theta, z, eps, fixed=fixed)
    assert_equal_gradients(objective.gradient(theta, 0, TIMESTEP, z, eps), reference)


def test_a_picture_that_is_not_square(model):
    modules, source = model
    theta, _, _ = draw()
    z, eps = torch.randn(2, 1, 4, 16, 24, generator=torch.Generator().manual_seed(5))
    ours = make_objective(source).gradient(theta, 0, TIMESTEP, z, eps)
    assert_equal_gradients(ours, differentiate(modules, ids_of(CAPTIONS[0]), theta, z, eps))


@pytest.mark.parametrize("weights", ["dense", "int8"])
def test_bfloat16_activations(model, dequantized, weights):
    """bfloat16 rounds what it computes to 8 bits wherever it is computed. Ours and the reference's
    own bfloat16 round at about as many places, so both errors have about one size: twice the
    reference's is the bound, and an error of one layer's whole part would be beyond it."""
    modules = model[0] if weights == "dense" else dequantized
    theta, z, eps = draw()
    errors, references = [], []
    rounded = copy.deepcopy(modules)
    rounded.unet.to(torch.bfloat16)
    objective = make_objective(model[1], weights, "bf16")
    for picture, caption in enumerate(CAPTIONS):
        ids = ids_of(caption)
        exact = differentiate(modules, ids, theta, z, eps)[1]
        references.append(distance(differentiate(rounded, ids, theta, z, eps)[1], exact))
        ours = objective.gradient(theta, picture, TIMESTEP, z, eps)[1]
        assert ours.dtype == torch.float32
        errors.append(distance(ours, exact))
    assert math.hypot(*errors) <= 2 * math.hypot(*references)


@pytest.mark.parametrize("weights", ["dense", "int8"])
def test_equal_to_differences_of_losses(model, weights):
    """(L(theta + h e) - L(theta - h e)) / 2h for unit directions e.

    A loss is a mean of 1024 squares of order one, of float32 residuals that are each off by some
    1e-5 (test_models.py), with random signs: 1e-6, which makes 1e-6 / h of a slope. The cubic term
    h^2 L''' / 6 is a third of what doubling h changes; the whole change leaves room for the rest.
    """
    theta, z, eps = draw()
    objective = make_objective(model[1], weights)
    _, gradient = objective.gradient(theta, 1, TIMESTEP, z, eps)
    directions = torch.randn(8, 64, generator=torch.Generator().manual_seed(2))
    directions = directions / directions.norm(dim=1, keepdim=True)

    def slopes(h):
        both = torch.cat([theta + h * directions, theta - h * directions])
        above, below = objective.losses(both, 1, TIMESTEP, z, eps).chunk(2)
        return (above - below) / (2 * h)

    h = 0.02
    fine, coarse = slopes(h), slopes(2 * h)
    error = (fine - (directions @ gradient).double()).abs()
    assert (error <= 1e-6 / h + (coarse - fine).abs()).all()
    assert fine.abs().max() > 100 * 1e-6 / h  # they say something


@pytest.mark.parametrize("compute", ["fp32", "bf16"])
@pytest.mark.parametrize("weights", ["dense", "int8"])
def test_the_loss_has_the_bits_of_losses(model, weights, compute):
    theta, z, eps = draw()
    objective = make_objective(model[1], weights, compute)
    loss, gradient = objective.gradient(theta, 1, TIMESTEP, z, eps)
    assert objective.losses(theta[None], 1, TIMESTEP, z, eps).tolist() == [loss]
    again = objective.gradient(theta, 1, TIMESTEP, z, eps)
    assert again[0] == loss
    assert torch.equal(again[1], gradient)


def test_tensors_of_inference_mode_take_part(model):
    modules, _ = model
    theta, z, eps = draw()
    expected = make_objective(model[1]).gradient(theta, 1, TIMESTEP, z, eps)
    with torch.inference_mode():
        # A host loads its models so: none of these may be kept by a graph.
        tensors = {name: tensor.clone() for name, tensor in to_original(modules).items()}
        objective = make_objective(_native.weights_in_memory(tensors))
        loss, gradient = objective.gradient(theta.clone(), 1, TIMESTEP, z.clone(), eps.clone())
    assert loss == expected[0]
    assert torch.equal(gradient, expected[1])
    assert not gradient.is_inference()


def test_grad_mode_of_the_caller_changes_nothing(model):
    theta, z, eps = draw()
    objective = make_objective(model[1])
    with torch.no_grad():
        expected = objective.gradient(theta, 0, TIMESTEP, z, eps)
    leaf = theta.clone().requires_grad_()
    with torch.enable_grad():
        loss, gradient = objective.gradient(leaf, 0, TIMESTEP, z, eps)
        losses = objective.losses(leaf[None], 0, TIMESTEP, z, eps)
    assert loss == expected[0]
    assert torch.equal(gradient, expected[1])
    assert leaf.grad is None
    assert not gradient.requires_grad
    assert not losses.requires_grad


def test_a_theta_of_another_size_is_refused(model):
    theta, z, eps = draw()
    objective = make_objective(model[1])
    with pytest.raises(_native.Error, match="needs a float32 theta of 64 numbers, got .*63"):
        objective.gradient(theta[:63], 0, TIMESTEP, z, eps)
