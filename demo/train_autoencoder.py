"""Trains the demo model's autoencoder; `demo.train_model` calls this."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from .networks import build_autoencoder
from .training_scenes import Log, save, to_tensor
from .world import SIZE


def _initialise(autoencoder: nn.Module) -> None:
    """He initialisation with the last convolution of each residual branch damped: without norms
    the activations would grow from block to block."""
    for name, parameter in autoencoder.named_parameters():
        if parameter.dim() == 4:
            nn.init.kaiming_normal_(parameter, nonlinearity="relu")
            if name.endswith("conv.4.weight"):
                parameter.data.mul_(0.2)
        else:
            nn.init.zeros_(parameter)


@torch.no_grad()
def _whiten(autoencoder: nn.Module, pictures: torch.Tensor) -> None:
    """Makes the latent channels of these pictures uncorrelated with variance 1, by the last
    convolution's weights."""
    last = autoencoder.encoder.layers[-1]
    latents = autoencoder.encoder(pictures).permute(1, 0, 2, 3).flatten(1)
    mean = latents.mean(1)
    values, vectors = torch.linalg.eigh(torch.cov(latents))
    matrix = vectors.T / values.clamp(min=1e-8).sqrt()[:, None]
    last.weight.copy_(torch.einsum("ij,jkhw->ikhw", matrix, last.weight))
    last.bias.copy_(matrix @ (last.bias - mean))


def train_autoencoder(work: Path, pictures: np.ndarray, steps: int, seed: int) -> nn.Module:
    """Reconstruction of crops; the decoder sees latents with a little noise, as it will from the
    UNet. The latent stays near zero mean and unit variance, so that its scale is 1."""
    autoencoder = build_autoencoder()
    path = work / "autoencoder.pt"
    state = torch.load(path) if path.exists() else None
    if state is None:
        torch.manual_seed(seed)
        _initialise(autoencoder)
        _whiten(autoencoder, to_tensor(pictures[:64]))
    autoencoder.to(memory_format=torch.channels_last)  # a quarter faster here
    optimiser = torch.optim.AdamW(
        autoencoder.parameters(), lr=1.5e-3, weight_decay=1e-4, fused=True
    )
    done = 0
    if state is not None:
        autoencoder.load_state_dict(state["model"])
        done = state["step"]
        if done < steps:
            optimiser.load_state_dict(state["optimiser"])
    log = Log("autoencoder", steps)
    for step in range(done, steps):
        random = np.random.default_rng([seed, 1, step])
        chosen = np.sort(random.choice(len(pictures), 8, replace=False))
        top, left = random.integers(0, SIZE // 16 + 1, 2) * 8
        crops = to_tensor(pictures[chosen, top : top + 64, left : left + 64])
        share = step / steps
        for group in optimiser.param_groups:
            group["lr"] = 1.5e-3 * min(1, step / 100) * 0.5 * (1 + math.cos(math.pi * share))
        latents = autoencoder.encoder(crops)
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        noise = torch.randn(latents.shape, generator=generator)
        restored = autoencoder.decoder(latents + 0.08 * noise)
        deviation = latents.permute(1, 0, 2, 3).flatten(1)
        spread = (torch.cov(deviation) - torch.eye(4)).square().mean()
        spread = spread + deviation.mean(1).square().mean()
        loss = F.l1_loss(restored, crops) + F.mse_loss(restored, crops)
        total = loss + 0.02 * spread
        optimiser.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(autoencoder.parameters(), 1.0)
        optimiser.step()
        log.add(step, loss.item())
        if (step + 1) % 1000 == 0 or step + 1 == steps:
            content = {"model": autoencoder.state_dict(), "step": step + 1}
            save(path, content | {"optimiser": optimiser.state_dict()})
    return autoencoder.requires_grad_(False).eval()


def polish_decoder(
    work: Path, latents: torch.Tensor, pictures: np.ndarray, steps: int, seed: int
) -> None:
    """The decoder alone, on latents as they are now: the encoder has to stay as it was when the
    UNet learned from it. Replaces the weights in the autoencoder's file."""
    path = work / "autoencoder.pt"
    state = torch.load(path)
    if state.get("polished", 0) >= steps:
        return
    autoencoder = build_autoencoder()
    autoencoder.load_state_dict(state["model"])
    decoder = autoencoder.decoder.to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(decoder.parameters(), lr=1e-3, weight_decay=1e-4, fused=True)
    log = Log("decoder", steps)
    for step in range(steps):
        random = np.random.default_rng([seed, 4, step])
        chosen = np.sort(random.choice(len(pictures), 3, replace=False))
        whole = latents[torch.from_numpy(chosen)]  # not crops: the edges have to be learned as well
        noise = torch.from_numpy(random.standard_normal(whole.shape, dtype=np.float32))
        for group in optimiser.param_groups:
            group["lr"] = 1e-3 * 0.5 * (1 + math.cos(math.pi * step / steps))
        restored, truth = decoder(whole + 0.05 * noise), to_tensor(pictures[chosen])
        loss = F.l1_loss(restored, truth) + F.mse_loss(restored, truth)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
        optimiser.step()
        log.add(step, loss.item())
    save(path, state | {"model": autoencoder.state_dict(), "polished": steps})


@torch.no_grad()
def encode(autoencoder: nn.Module, pictures: np.ndarray) -> torch.Tensor:
    """float16 [b, 4, 16, 16], as latents are kept."""
    return autoencoder.encoder(to_tensor(pictures)).half()


def encode_all(work: Path, autoencoder: nn.Module, pictures: np.ndarray) -> torch.Tensor:
    """float32 [scenes, 4, 16, 16]."""
    path = work / "latents.pt"
    if not path.exists():
        parts = [
            encode(autoencoder, pictures[first : first + 50])
            for first in range(0, len(pictures), 50)
        ]
        save(path, torch.cat(parts))
    return torch.load(path).float()
