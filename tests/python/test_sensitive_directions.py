"""Directions that the UNet hears of: against the whole Jacobian by torch's autograd through
transformers' text encoder and diffusers' keys and values, on the same random weights.

The engine sees A = mean J^T M^T M J through 4 rank probes, so that its span is judged by how much
of A it holds: tr(U A U^T) beside that of the leading eigenvectors. A span of random directions
holds rank / d.
"""

from __future__ import annotations

import pytest
import torch
import zoodip
from make_checkpoint import build_modules, to_original
from test_exact_gradient import ids_of, states_at
from zoodip import _native

from demo.model_file import FILES
from demo.subjects import find_subject

CAPTIONS = ["a photo of a {}", "{} on a beach, near another {}"]
RANK = 8


class World:
    def __init__(self) -> None:
        self.modules = build_modules("tiny", seed=8, parts=["unet", "text_encoder"])
        self.tensors = to_original(self.modules)
        self.theta = 0.1 * torch.randn(64, generator=torch.Generator().manual_seed(4))

    def directions(self, rank=RANK, seed=0, tensors=None, captions=CAPTIONS):
        source = _native.weights_in_memory(self.tensors if tensors is None else tensors)
        encoder = _native.TextEncoder(source, weights="dense", heads=1)
        theta = self.theta
        return _native.sensitive_directions(source, [encoder], captions, theta, rank, seed=seed)

    def sensitivity(self) -> torch.Tensor:
        """A, float64 [d, d]."""
        total = torch.zeros(64, 64, dtype=torch.float64)
        read = torch.cat(
            [
                layer.weight.detach().double()
                for name, layer in self.modules.unet.named_modules()
                if name.endswith(("attn2.to_k", "attn2.to_v"))
            ]
        )
        for caption in CAPTIONS:
            encoder = self.modules.text_encoder
            ids = ids_of(caption)
            table = encoder.get_input_embeddings().weight.detach()

            def states(theta, ids=ids, table=table, encoder=encoder):
                embedded = torch.where((ids < 0)[..., None], theta, table[ids.clamp(min=0)])
                return states_at(encoder, ids, embedded, 1)[0]

            jacobian = torch.autograd.functional.jacobian(states, self.theta).double()
            heard = torch.einsum("oc,tcd->otd", read, jacobian).flatten(0, 1)
            total += heard.T @ heard
        return total / len(CAPTIONS)


@pytest.fixture(scope="module")
def world():
    return World()


@pytest.fixture(scope="module")
def sensitivity(world):
    return world.sensitivity()


def test_they_are_orthonormal_and_a_value_of_the_seed(world) -> None:
    found = world.directions()
    assert found.dtype == torch.float32 and tuple(found.shape) == (RANK, 64)
    torch.testing.assert_close(found @ found.T, torch.eye(RANK), atol=1e-5, rtol=0)
    assert torch.equal(found, world.directions())
    assert not torch.equal(found, world.directions(seed=1))


def test_they_hold_most_of_what_the_unet_hears(world, sensitivity) -> None:
    best = torch.linalg.eigvalsh(sensitivity)[-RANK:].sum()
    for seed in range(3):
        found = world.directions(seed=seed).double()
        held = torch.trace(found @ sensitivity @ found.T)
        assert held > 0.85 * best
    generator = torch.Generator().manual_seed(1)
    random = torch.linalg.qr(torch.randn(64, RANK, generator=generator).double())[0].T
    assert torch.trace(random @ sensitivity @ random.T) < 0.5 * best


def test_as_many_as_the_word_has_numbers_are_all_of_them(world, sensitivity) -> None:
    found = world.directions(rank=64).double()
    held = torch.trace(found @ sensitivity @ found.T)
    assert held == pytest.approx(torch.trace(sensitivity).item(), rel=1e-4)


def test_the_first_hears_more_than_the_last(world, sensitivity) -> None:
    found = world.directions(rank=32).double()
    heard = torch.einsum("rd,de,re->r", found, sensitivity, found)
    assert heard[:4].mean() > 3 * heard[-4:].mean()


@pytest.mark.parametrize("rank", [0, 65])
def test_a_rank_that_the_word_does_not_have_is_refused(world, rank) -> None:
    with pytest.raises(_native.Error, match=f"direction_rank: needs 1 to 64.*got {rank}"):
        world.directions(rank=rank)


def test_a_unet_that_reads_nothing_is_refused(world) -> None:
    deaf = {
        name: torch.zeros_like(tensor) if ".attn2.to_" in name else tensor
        for name, tensor in world.tensors.items()
    }
    with pytest.raises(_native.Error, match="the UNet reads nothing of a text"):
        world.directions(tensors=deaf)


def test_a_model_of_two_text_encoders_has_them(tmp_path) -> None:
    """Its keys and values read less than the two give together: their gram matrix is singular, and
    rounding leaves eigenvalues below zero."""
    subject = find_subject("orange_striped_cat")
    made = zoodip.train(
        FILES["xl"].unpack(),
        subject.folder,
        "zwx",
        "cat",
        tmp_path / "zwx.safetensors",
        preset="few_passes",
        steps=1,
        validate_every=0,
    )
    assert made.finished and made.forward_passes == 9
