"""The loss of a word: against diffusers, and row by row the same bits wherever a row stands."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDPMScheduler
from make_checkpoint import SCHEDULE, build_modules, to_original
from zoodip import _native

CAPTIONS = ["a photo of a {}", "{} on a beach, near another {}"]


@pytest.fixture(scope="module")
def model():
    modules = build_modules("tiny", seed=8)
    return modules, _native.weights_in_memory(to_original(modules))


def make_objective(model, weights="int8", compute="fp32", prediction="epsilon", clip_skip=1):
    modules, source = model
    return _native.Objective(
        _native.TextEncoder(source, weights=weights, heads=1),
        _native.UNet(source, weights=weights, compute=compute),
        word="sks",
        width=modules.unet.config.cross_attention_dim,
        captions=CAPTIONS,
        prediction=prediction,
        clip_skip=clip_skip,
    )


def draw(model, rows):
    width = model[0].unet.config.cross_attention_dim
    generator = torch.Generator().manual_seed(4)
    thetas = 0.1 * torch.randn(rows, width, generator=generator)
    z, eps = torch.randn(2, 1, 4, 16, 16, generator=generator)
    return thetas, z, eps


def ids_of(caption):
    """Ids [1, 77] with -1 in the word's places."""
    pieces = [_native.Tokenizer().encode(piece) for piece in caption.split("{}")]
    ids = [49406, *pieces[0], *(i for piece in pieces[1:] for i in [-1, *piece]), 49407]
    return torch.tensor(ids + [49407] * (77 - len(ids)))[None]


@pytest.mark.parametrize("prediction", ["epsilon", "v"])
@pytest.mark.parametrize("picture", [0, 1])
def test_equal_to_diffusers(model, prediction, picture):
    """Relative error 1e-4: the tolerance of the forward passes, see test_models.py."""
    modules, _ = model
    thetas, z, eps = draw(model, 3)
    name = {"epsilon": "epsilon", "v": "v_prediction"}[prediction]
    scheduler = DDPMScheduler.from_config(SCHEDULE | {"prediction_type": name})
    timestep = torch.tensor([437])
    z_t = scheduler.add_noise(z, eps, timestep)
    target = eps if prediction == "epsilon" else scheduler.get_velocity(z, eps, timestep)
    ids = ids_of(CAPTIONS[picture])
    table = modules.text_encoder.get_input_embeddings()
    reference = []
    for theta in thetas:
        embedded = torch.where((ids == -1)[..., None], theta, table.weight[ids.clamp(min=0)])
        # The look-up is replaced for this call; everything after it is the reference's own.
        hook = table.register_forward_hook(lambda *_, embedded=embedded: embedded)
        with torch.no_grad():
            context = modules.text_encoder(ids.clamp(min=0)).last_hidden_state
            output = modules.unet(z_t, timestep, context).sample
        hook.remove()
        reference.append((target - output).double().square().mean())
    ours = make_objective(model, "dense", prediction=prediction).losses(
        thetas, picture, 437, z, eps
    )
    assert ours.dtype == torch.float64
    assert torch.allclose(ours, torch.stack(reference), rtol=1e-4, atol=0)


@pytest.mark.parametrize("compute", ["fp32", "bf16"])
@pytest.mark.parametrize("weights", ["int8", "dense"])
def test_a_row_s_loss_has_the_same_bits_anywhere(model, weights, compute):
    objective = make_objective(model, weights, compute)
    thetas, z, eps = draw(model, 6)

    def losses(order):
        return objective.losses(thetas[order], 1, 300, z, eps)

    whole = losses([0, 1, 2])
    assert len(set(whole.tolist())) == 3
    assert torch.equal(losses([2, 0, 1]), whole[[2, 0, 1]])
    assert losses([5, 4, 0])[2] == whole[0]
    assert torch.equal(losses([1, 1, 1]), whole[1].expand(3))


@pytest.mark.parametrize("rows", [1, 3, 5])
def test_one_batched_call_serves_all_rows(model, rows):
    objective = make_objective(model)
    thetas, z, eps = draw(model, rows)
    assert objective.unet_calls == 0
    objective.losses(thetas, 0, 10, z, eps)
    assert objective.unet_calls == 1
