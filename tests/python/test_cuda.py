"""The same model on a graphics card: against the CPU, which other tests hold to the references.

Without a card these are skipped. Tolerance in float32: as in test_models.py, sums in another order;
torch keeps TF32 off for matrix products, and the test switches it off for convolutions too.
"""

from __future__ import annotations

import subprocess

import numpy as np
import pytest
import torch
import zoodip
from make_checkpoint import build_modules, to_original, write_checkpoint
from PIL import Image
from safetensors.torch import load_file
from zoodip import _native

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="torch finds no NVIDIA GPU on this machine"
)
TOLERANCE = {"fp32": 1e-4, "bf16": 5e-2}  # bf16: 2^-9 a rounding, over some hundred of them


@pytest.fixture(autouse=True)
def exact_convolutions():
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


@pytest.fixture(scope="module", params=["tiny", "tiny-taesd"])
def model(request):
    modules = build_modules(request.param, seed=5)
    return modules.unet.config.cross_attention_dim, _native.weights_in_memory(to_original(modules))


def inputs(width):
    generator = torch.Generator().manual_seed(2)
    sample = torch.randn(1, 4, 16, 16, generator=generator)
    ids = torch.randint(0, 49406, (1, 77), generator=generator)
    vectors = torch.randn(3, 1, width, generator=generator)
    return sample, torch.tensor([700.0]), ids, vectors


def forward(source, width, device, weights, compute, rows=(0, 1, 2)):
    sample, timestep, ids, vectors = inputs(width)
    encoder = _native.TextEncoder(source, weights=weights, heads=1, device=device)
    unet = _native.UNet(source, weights=weights, compute=compute, device=device)
    hidden, _ = encoder.forward(
        ids.to(device), positions=[4], vectors=vectors[list(rows)].to(device)
    )
    return unet.forward(sample.to(device), timestep.to(device), hidden).float().cpu()


@pytest.mark.parametrize("compute", ["fp32", "bf16"])
@pytest.mark.parametrize("weights", ["int8", "int4", "dense"])
def test_text_encoder_and_unet(model, weights, compute):
    width, source = model
    reference = forward(source, width, "cpu", weights, "fp32")
    ours = forward(source, width, "cuda", weights, compute)
    assert (ours - reference).abs().max() <= TOLERANCE[compute] * reference.abs().max()


@pytest.mark.parametrize("weights", ["int8", "int4"])
def test_a_row_has_the_same_bits_beside_other_neighbours(model, weights):
    width, source = model
    first = forward(source, width, "cuda", weights, "fp32", (0, 1, 2))
    moved = forward(source, width, "cuda", weights, "fp32", (2, 0, 1))
    assert torch.equal(first[0], moved[1])
    assert torch.equal(first[2], moved[0])


@pytest.mark.parametrize("weights", ["int8", "int4"])
def test_dequantised_weights_have_the_same_bits(weights):
    for shape in [(16, 64, 3, 3), (320, 4, 3, 3), (33, 129), (8, 320)]:
        packed = _native.quantize(torch.randn(shape), weights)
        for compute in ("fp32", "bf16"):
            ours = _native.dequantize(packed.to("cuda"), weights, compute)
            assert torch.equal(ours.cpu(), _native.dequantize(packed, weights, compute))


def test_vae(model):
    _, source = model
    pixels = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(3)) * 2 - 1
    mean, deviation = _native.LatentEncoder(source).encode(pixels)
    encoder = _native.LatentEncoder(source, device="cuda")
    on_card, its_deviation = encoder.encode(pixels.cuda())
    assert (on_card.cpu() - mean).abs().max() <= 1e-4 * mean.abs().max()
    assert (its_deviation.cpu() - deviation).abs().max() <= 1e-4 * max(deviation.abs().max(), 1)
    picture = _native.LatentDecoder(source).decode(mean)
    other = _native.LatentDecoder(source, device="cuda").decode(mean.cuda()).cpu()
    assert (other - picture).abs().max() <= 1e-4 * picture.abs().max()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A checkpoint and a folder with one picture."""
    folder = tmp_path_factory.mktemp("files")
    write_checkpoint(folder / "model.safetensors", "tiny-taesd", seed=3)
    (folder / "images").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "images" / "a.png")
    return {"model": folder / "model.safetensors", "images": folder / "images"}


def train(files, out, **settings):
    """The losses of six steps."""
    losses = []
    zoodip.train(
        **files,
        word="sks",
        init="dog",
        out=out,
        **({"steps": 6, "resolution": 64, "tau": 4} | settings),
        on_step=lambda step, steps, loss, smooth: losses.append(loss),
    )
    return losses


@pytest.mark.parametrize("compute", ["fp32", "bf16"])
def test_a_whole_run(tmp_path, files, compute):
    """The same seed gives the same bytes on the same card; the first loss is the CPU's."""
    tokens = [tmp_path / f"{i}.safetensors" for i in range(3)]
    on_cpu = train(files, tokens[0])
    first = train(files, tokens[1], device="cuda", compute=compute)
    second = train(files, tokens[2], device="cuda", compute=compute)
    assert first == second
    assert tokens[1].read_bytes() == tokens[2].read_bytes()
    assert torch.isfinite(load_file(tokens[1])["clip_l"]).all()
    assert first[0] == pytest.approx(on_cpu[0], rel=10 * TOLERANCE[compute])


def test_float32_is_not_rounded_to_tf32(tmp_path, files):
    """The process's own setting changes nothing in a run, and is as before after it."""
    tokens = {allowed: tmp_path / f"{allowed}.safetensors" for allowed in (False, True)}
    for allowed, token in tokens.items():
        torch.backends.cudnn.allow_tf32 = allowed
        train(files, token, device="cuda")
        assert torch.backends.cudnn.allow_tf32 == allowed
    assert tokens[True].read_bytes() == tokens[False].read_bytes()


def test_the_program(tmp_path, files, module_folder):
    """It links no CUDA library and loads torch's when it is asked for."""
    token, picture = tmp_path / "sks.safetensors", tmp_path / "sks.png"
    words = ["train", "--model", files["model"], "--images", files["images"], "--word", "sks"]
    words += ["--init", "dog", "--out", token, "--steps", "2", "--resolution", "64"]
    subprocess.run([module_folder / "zoodip", *words, "--device", "cuda"], check=True)
    words = ["sample", "--model", files["model"], "--token", token, "--prompt", "a photo of sks"]
    words += ["--out", picture, "--steps", "2", "--width", "64", "--height", "64"]
    subprocess.run([module_folder / "zoodip", *words, "--device", "cuda"], check=True)
    assert Image.open(picture).size == (64, 64)
