"""The loss of a word: against diffusers, and row by row the same bits wherever a row stands."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDPMScheduler
from make_checkpoint import SCHEDULE, build_modules, to_original
from processor import needs_integer_products
from zoodip import _native

COMPUTE = ["fp32", "bf16", pytest.param("int8", marks=needs_integer_products)]
CAPTIONS = ["a photo of a {}", "{} on a beach, near another {}"]


@pytest.fixture(scope="module")
def model():
    modules = build_modules("tiny", seed=8)
    return modules, _native.weights_in_memory(to_original(modules))


def make_parts(model, weights="int8", compute="fp32"):
    _, source = model
    encoder = _native.TextEncoder(source, weights=weights, heads=1)
    return [encoder], _native.UNet(source, weights=weights, compute=compute)


def make_objective(
    model, weights="int8", compute="fp32", prediction="epsilon", clip_skip=1, chunk=0
):
    objective = _native.Objective(
        *make_parts(model, weights, compute),
        word="sks",
        captions=CAPTIONS,
        prediction=prediction,
        clip_skip=clip_skip,
        chunk=chunk,
    )
    if compute == "int8":
        thetas, z, eps = draw(model, 1)
        objective.calibrate(thetas[0], [(0, timestep, z, eps) for timestep in (10, 300, 437)])
    return objective


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


@pytest.mark.parametrize("compute", COMPUTE)
@pytest.mark.parametrize("weights", ["int8", "dense"])
def test_a_row_s_loss_has_the_same_bits_anywhere(model, weights, compute):
    if compute == "int8" and weights == "dense":
        pytest.skip("integers are multiplied with weights in INT8")
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


# --- slopes from the residual ---------------------------------------------------------------------


def outputs_of(model, thetas, picture, timestep, z, eps, weights="int8", compute="fp32"):
    """What the UNet makes of every row, [rows, 4, 16, 16] in float64."""
    (encoder,), unet = make_parts(model, weights, compute)
    ids = ids_of(CAPTIONS[picture])
    places = (ids[0] == -1).nonzero()[:, 0].tolist()
    vectors = thetas[:, None].expand(-1, len(places), -1)
    context, _ = encoder.forward(ids.clamp(min=0), places, vectors)
    # Rounded as the objective does it, so that the outputs are its own: a last bit of z_t changes
    # every rounding behind it.
    start, end = SCHEDULE["beta_start"] ** 0.5, SCHEDULE["beta_end"] ** 0.5
    betas = torch.linspace(start, end, 1000, dtype=torch.float64).square()
    left = (1 - betas).cumprod(0)[timestep].item()
    z_t = left**0.5 * z + (1 - left) ** 0.5 * eps
    return unet.forward(z_t, torch.tensor([float(timestep)]), context).double()


@pytest.mark.parametrize("weights", ["int8", "dense"])
def test_linearised_losses_give_the_residual_slope(model, weights):
    """(loss_i - loss_0) / mu = (2/N) <r, eps(theta + mu e_i) - eps(theta)> / mu, and what they lack
    against the losses themselves is the square of the change, mean (eps_i - eps_0)^2.

    Differences of outputs are rounded to float32, N = 1024 of them; everything else is float64.
    """
    mu = 1e-2
    thetas, z, eps = draw(model, 4)
    directions = thetas[1:] / 0.1
    points = torch.cat([thetas[:1], thetas[:1] + mu * directions])
    given = (points, 1, 437, z, eps)
    objective = make_objective(model, weights)
    losses = objective.losses(*given)
    linearised = objective.losses(*given, linearised=True)
    outputs = outputs_of(model, *given, weights=weights)
    residual, change = outputs[0] - eps[0].double(), outputs - outputs[0]
    slopes = 2 * (residual * change).flatten(1).mean(1) / mu
    # Each residual and each change is a difference of float32, rounded once: 2 u of every product.
    size = 2 * (residual * change).abs().flatten(1).mean(1) / mu
    assert linearised[0] == losses[0]
    found = (linearised[1:] - linearised[0]) / mu
    assert ((found - slopes[1:]).abs() <= 2 * 2**-24 * size[1:]).all()
    square = change.square().flatten(1).mean(1)
    lacks = losses - linearised
    assert (lacks[1:] > 0).all()
    assert torch.allclose(lacks, square, rtol=1e-3, atol=0)


def test_the_residual_slope_is_that_of_the_estimator(model):
    """rge sees linearised losses as it sees others."""
    thetas, z, eps = draw(model, 3)
    directions = thetas[1:] / 0.1
    estimator = _native.Estimator("rge", 1e-2)
    points = estimator.points(thetas[0], directions)
    losses = make_objective(model).losses(points, 0, 437, z, eps, linearised=True)
    slopes = (losses[1:] - losses[0]) / 1e-2
    expected = (slopes[:, None] * directions.double()).mean(0)
    g = estimator.estimate(losses, directions)
    assert torch.allclose(g.double(), expected, rtol=2**-23, atol=2**-40)


@pytest.mark.parametrize("compute", COMPUTE)
def test_a_row_s_linearised_loss_has_the_same_bits_beside_the_same_first_row(model, compute):
    objective = make_objective(model, compute=compute)
    thetas, z, eps = draw(model, 4)
    whole = objective.losses(thetas, 1, 300, z, eps, linearised=True)
    order = [0, 3, 1, 2]
    assert torch.equal(
        objective.losses(thetas[order], 1, 300, z, eps, linearised=True), whole[order]
    )
    same = objective.losses(thetas[[1, 1, 1]], 1, 300, z, eps, linearised=True)
    assert torch.equal(same, same[:1].expand(3))


# --- chunks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("linearised", [False, True])
@pytest.mark.parametrize("compute", COMPUTE)
@pytest.mark.parametrize("chunk", [1, 2, 3, 5])
def test_a_row_s_loss_has_the_same_bits_in_any_chunk(model, chunk, compute, linearised):
    """Seven rows: the last chunk is filled up where they do not divide."""
    objective = make_objective(model, compute=compute, chunk=chunk)
    thetas, z, eps = draw(model, 7)

    def losses(order):
        return objective.losses(thetas[order], 1, 300, z, eps, linearised=linearised)

    before = objective.unet_calls
    whole = losses(list(range(7)))
    assert objective.unet_calls - before == -(-7 // chunk)
    assert len(set(whole.tolist())) == 7
    for order in ([0, 6, 5, 4, 3, 2, 1], [0, 2, 4, 6, 1, 3, 5], [0, 4, 4, 1, 1]):
        assert torch.equal(losses(order), whole[order])
    assert torch.equal(losses([3] * 6), losses([3] * 6)[:1].expand(6))


@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 7, 100])
def test_chunks_give_the_losses_of_one_call(model, chunk):
    """Within the tolerance of the forward passes; a chunk that holds all rows is that call."""
    thetas, z, eps = draw(model, 7)
    whole = make_objective(model).losses(thetas, 1, 300, z, eps)
    objective = make_objective(model, chunk=chunk)
    losses = objective.losses(thetas, 1, 300, z, eps)
    assert torch.allclose(losses, whole, rtol=1e-4, atol=0)
    if chunk >= 7:
        assert torch.equal(losses, whole)
        assert objective.unet_calls == 1


# --- integers -------------------------------------------------------------------------------------


@needs_integer_products
def test_calibrated_integers_come_near_the_other_products(model):
    """Each layer is off by at most 4 %, and so are the losses."""
    thetas, z, eps = draw(model, 3)
    plain = make_objective(model, compute="fp32").losses(thetas, 0, 300, z, eps)
    objective = make_objective(model, compute="int8")
    losses = objective.losses(thetas, 0, 300, z, eps)
    assert not torch.equal(losses, plain)
    assert torch.allclose(losses, plain, rtol=0.05)
    beyond = objective.losses(thetas, 0, 999, z, eps)  # a timestep that was not calibrated
    rounded = make_objective(model, compute="bf16").losses(thetas, 0, 999, z, eps)
    assert torch.equal(beyond, rounded)


@needs_integer_products
def test_most_of_the_work_is_of_integers(model):
    thetas, z, eps = draw(model, 1)
    _, unet = parts = make_parts(model, compute="int8")
    objective = _native.Objective(*parts, word="sks", captions=CAPTIONS)
    layers, share = objective.calibrate(thetas[0], [(0, 300, z, eps)])
    assert share > 0.5
    for name, (error, sensitive) in layers.items():
        assert sensitive == (error > 0.04), name
    assert not any(name.endswith(("input_blocks.0.0.weight", "out.2.weight")) for name in layers)


@needs_integer_products
def test_integers_have_no_exact_gradient(model):
    thetas, z, eps = draw(model, 1)
    with pytest.raises(_native.Error, match="compute int8"):
        make_objective(model, compute="int8").gradient(thetas[0], 0, 300, z, eps)
