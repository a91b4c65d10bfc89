"""Forward passes against diffusers and transformers on the same random weights, in float32.

Tolerance: the two sides do the same sums in different orders. A float32 sum of k terms is off by at
most about sqrt(k) * 2^-24 of its scale for errors of random sign; with k up to 1e4 that is 6e-6 a
layer, and some tens of layers in a row add up to at most 1e-4 of the output's scale, which is the
bound used. A mistake (a wrong eps, order or activation) shows at 1e-2 and more.
"""

import pytest
import torch
from make_checkpoint import build_modules, to_original
from zoodip import _native

TOLERANCE = 1e-4
TEXT_HEADS = {"tiny": 1, "tiny-taesd": 1, "sd15": 12}


def relative_error(ours, reference):
    return ((ours - reference).abs().max() / reference.abs().max()).item()


def assert_close(ours, reference, tolerance=TOLERANCE):
    assert ours.shape == reference.shape
    assert ours.dtype == reference.dtype
    assert relative_error(ours, reference) <= tolerance


@pytest.fixture(scope="module", params=["tiny", "tiny-taesd"])
def model(request):
    modules = build_modules(request.param, seed=5)
    source = _native.weights_in_memory(to_original(modules))
    return request.param, modules, source


def make_ids(rows=2):
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, 49406, (rows, 77), generator=generator)
    ids[:, 0] = 49406
    for row in range(rows):
        ids[row, 9 + row :] = 49407
    return ids


def check_text_encoder(name, modules, source):
    encoder = _native.TextEncoder(source, weights="dense", heads=TEXT_HEADS[name])
    ids = make_ids()
    with torch.no_grad():
        reference = modules.text_encoder(ids, output_hidden_states=True)
    hidden, pooled = encoder.forward(ids)
    assert_close(hidden, reference.last_hidden_state)
    assert pooled is None  # this family's UNet takes none
    skipped, _ = encoder.forward(ids, clip_skip=2)
    final_norm = dict(modules.text_encoder.named_modules())
    final_norm = next(m for n, m in final_norm.items() if n.endswith("final_layer_norm"))
    with torch.no_grad():
        assert_close(skipped, final_norm(reference.hidden_states[-2]))


def check_unet(name, modules, source, side):
    width = modules.unet.config.cross_attention_dim
    generator = torch.Generator().manual_seed(2)
    sample = torch.randn(3, 4, side, side, generator=generator)
    context = torch.randn(3, 77, width, generator=generator)
    timesteps = torch.tensor([1.0, 500.0, 999.0])
    unet = _native.UNet(source, weights="dense")
    with torch.no_grad():
        reference = modules.unet(sample, timesteps, context).sample
        shared = modules.unet(sample[:1].expand(3, -1, -1, -1), timesteps[1], context).sample
    assert_close(unet.forward(sample, timesteps, context), reference)
    # One row of sample and timestep serves all rows of the context.
    assert_close(unet.forward(sample[:1], timesteps[1:2], context), shared)


def test_text_encoder(model):
    check_text_encoder(*model)


def test_unet(model):
    check_unet(*model, side=16)


def test_unet_of_odd_aspect(model):
    name, modules, source = model
    sample = torch.randn(1, 4, 16, 24, generator=torch.Generator().manual_seed(4))
    context = torch.randn(1, 77, modules.unet.config.cross_attention_dim)
    with torch.no_grad():
        reference = modules.unet(sample, torch.tensor([10.0]), context).sample
    unet = _native.UNet(source, weights="dense")
    assert_close(unet.forward(sample, torch.tensor([10.0]), context), reference)


def check_vae(name, modules, source, side, whole=True):
    generator = torch.Generator().manual_seed(3)
    pixels = torch.rand(2, 3, side, side, generator=generator) * 2 - 1
    encoder = _native.LatentEncoder(source, weights="dense", whole=whole)
    decoder = _native.LatentDecoder(source, weights="dense", whole=whole)
    mean, deviation = encoder.encode(pixels)
    with torch.no_grad():
        if name == "tiny-taesd":
            reference = modules.vae.encode(pixels).latents
            assert deviation.abs().max() == 0
            decoded = modules.vae.decode(reference).sample
        else:
            posterior = modules.vae.encode(pixels).latent_dist
            reference = 0.18215 * posterior.mean
            assert_close(deviation, 0.18215 * posterior.std)
            decoded = modules.vae.decode(reference / 0.18215).sample
    assert_close(mean, reference)
    assert_close(decoder.decode(reference), decoded)


def test_vae(model):
    check_vae(*model, side=64)


def test_latents_of_rounded_products(model):
    """Of some thirty products one after another each rounds its inputs by at most 2^-9, none of it
    in step with another: sqrt(30) 2^-9 of the latents' size."""
    source = model[2]
    pixels = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(5)) * 2 - 1
    exact, rounded = (
        _native.LatentEncoder(source, weights="int8", compute=compute).encode(pixels)[0]
        for compute in ("fp32", "bf16")
    )
    assert (rounded - exact).square().mean() <= 30 * 2.0**-18 * exact.square().mean()


@pytest.mark.parametrize("part", ["text_encoder", "unet", "vae"])
def test_full_size(part):
    """The shapes of SD 1.5 itself, one part at a time."""
    modules = build_modules("sd15", seed=1, parts=[part])
    source = _native.weights_in_memory(to_original(modules))
    if part == "text_encoder":
        check_text_encoder("sd15", modules, source)
    elif part == "unet":
        check_unet("sd15", modules, source, side=16)
    else:
        check_vae("sd15", modules, source, side=128, whole=False)


def test_injected_vectors_replace_looked_up_ones(model):
    name, modules, source = model
    encoder = _native.TextEncoder(source, weights="dense", heads=TEXT_HEADS[name])
    ids = make_ids(1)
    row = encoder.token_vector(int(ids[0, 3]))
    plain, _ = encoder.forward(ids)
    same, _ = encoder.forward(ids, positions=[3], vectors=row[None, None])
    assert torch.equal(plain, same)
    other = torch.stack([row, row + 1])[:, None]
    changed, _ = encoder.forward(ids, positions=[3], vectors=other)
    assert torch.equal(changed[:1], plain)
    assert torch.equal(changed[:, :3], plain.expand(2, -1, -1)[:, :3])  # causal
    assert not torch.equal(changed[1, 3:], plain[0, 3:])
    with torch.no_grad():  # the reference, with the row changed in the table
        table = modules.text_encoder.get_input_embeddings().weight
        kept = table[int(ids[0, 3])].clone()
        table[int(ids[0, 3])] += 1
        reference = modules.text_encoder(ids).last_hidden_state
        table[int(ids[0, 3])] = kept
    assert_close(changed[1:], reference)


@pytest.mark.parametrize("compute", ["fp32", "bf16"])
@pytest.mark.parametrize("weights", ["int8", "int4", "dense"])
def test_a_row_has_the_same_bits_anywhere(model, weights, compute):
    """Text encoder and UNet together: any position, any neighbours; equal rows are equal."""
    name, modules, source = model
    encoder = _native.TextEncoder(source, weights=weights, heads=TEXT_HEADS[name])
    unet = _native.UNet(source, weights=weights, compute=compute)
    generator = torch.Generator().manual_seed(6)
    sample = torch.randn(1, 4, 16, 16, generator=generator)
    timestep = torch.tensor([700.0])
    ids = make_ids(1)
    width = modules.unet.config.cross_attention_dim
    vectors = torch.randn(4, 1, width, generator=generator)

    def run(order):
        hidden, _ = encoder.forward(ids, positions=[4], vectors=vectors[order])
        return unet.forward(sample, timestep, hidden)

    first = run([0, 1, 2])
    moved = run([3, 2, 0])
    equal = run([0, 0, 0])
    assert torch.equal(first[0], moved[2])
    assert torch.equal(first[2], moved[1])
    assert all(torch.equal(equal[i], first[0]) for i in range(3))
    assert not torch.equal(first[0], first[1])


@pytest.mark.parametrize("compute", ["fp32", "bf16"])
def test_rows_that_pass_by_turns_are_those_that_pass_together(model, compute):
    """Of a large picture few rows pass through a layer at once: the same as each row alone."""
    name, modules, source = model
    unet = _native.UNet(source, weights="int8", compute=compute)
    generator = torch.Generator().manual_seed(7)
    sample = torch.randn(1, 4, 40, 64, generator=generator)
    timestep = torch.tensor([300.0])
    width = modules.unet.config.cross_attention_dim
    context = torch.randn(3, 77, width, generator=generator)
    together = unet.forward(sample, timestep, context)
    for row in range(3):
        alone = unet.forward(sample, timestep, context[row : row + 1])
        assert torch.equal(together[row : row + 1], alone)


def test_weights_that_are_not_finite_are_refused(model):
    name, modules, source = model
    tensors = dict(to_original(modules))
    key = "model.diffusion_model.middle_block.0.in_layers.2.weight"
    for bad in (float("nan"), 1e300):  # float32 cannot hold the latter
        tensors[key] = tensors[key].double()
        tensors[key][0, 0, 0, 0] = bad
        with pytest.raises(_native.Error, match="middle_block.0.in_layers.2.weight' holds NaN"):
            _native.UNet(_native.weights_in_memory(tensors))


def test_a_unet_that_ends_with_an_upsampler_is_refused(model):
    """Nothing says how large its picture should be."""
    name, modules, source = model
    start = "model.diffusion_model."
    kept = {
        key: tensor
        for key, tensor in to_original(modules).items()
        if not key.startswith((start + "input_blocks.", start + "output_blocks."))
    }
    channels = kept[start + "middle_block.0.in_layers.2.weight"].shape[1]
    kept[start + "input_blocks.0.0.weight"] = torch.randn(channels, 4, 3, 3)
    kept[start + "output_blocks.0.0.conv.weight"] = torch.randn(channels, 2 * channels, 3, 3)
    unet = _native.UNet(_native.weights_in_memory(kept))
    width = kept[start + "middle_block.1.transformer_blocks.0.attn2.to_k.weight"].shape[1]
    with pytest.raises(_native.Error, match="must not be an upsampling one"):
        unet.forward(torch.randn(1, 4, 16, 16), torch.tensor([500]), torch.randn(1, 77, width))
