"""The reference of the exact gradient: textual inversion (arXiv 2208.01618) in float32 as diffusers
does it, with gradient checkpointing; nothing is quantised.

Each step encodes the picture with the VAE, passes one noisy latent through text encoder and UNet,
and goes back to the word's row of the embedding, the one thing that is trained.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from ._step_memory import begin_training_peak, peak
from ._step_reference import (
    LEARNING_RATE,
    TOKENS,
    WORD,
    Clock,
    Parts,
    load,
    noisy_latents,
    random_pixels,
)


def load_to_train(folder: Path) -> Parts:
    """Checkpointing acts in modules in training mode alone; nothing here has dropout."""
    parts = load(folder, torch.float32)
    parts.unet.train()
    parts.unet.enable_gradient_checkpointing()
    parts.text_encoder.train()
    parts.text_encoder.gradient_checkpointing_enable()
    return parts


def trained_row(parts: Parts) -> torch.nn.Parameter:
    """The word's row, which from now on stands in its places of what the table looks up."""
    table = parts.text_encoder.get_input_embeddings()
    row = torch.nn.Parameter(table.weight[WORD].clone())

    def put(_: Any, inputs: tuple[torch.Tensor], looked_up: torch.Tensor) -> torch.Tensor:
        return torch.where((inputs[0] == WORD)[..., None], row, looked_up)

    table.register_forward_hook(put)
    return row


def gradient_step(
    parts: Parts, pixels: torch.Tensor, optimiser: torch.optim.Optimizer, clock: Clock
) -> None:
    noise, timesteps, noisy = noisy_latents(parts, pixels, clock)
    with clock("forward"):
        states = parts.text_encoder(torch.tensor([TOKENS]))[0]
        prediction = parts.unet(noisy, timesteps, states).sample
        loss = F.mse_loss(prediction, noise)
    with clock("backward"):
        loss.backward()
    optimiser.step()
    optimiser.zero_grad()


def train(folder: str, resolution: int, threads: int, steps: int) -> dict[str, Any]:
    """Worker: as `_step_reference.train`, by the gradient in float32."""
    torch.set_num_threads(threads)
    begun = time.perf_counter()
    parts = load_to_train(Path(folder))
    loading = {"load": time.perf_counter() - begun, "loading_peak": peak()}
    begin_training_peak()
    optimiser = torch.optim.AdamW([trained_row(parts)], lr=LEARNING_RATE)
    pixels = random_pixels(resolution, torch.float32)
    gradient_step(parts, pixels, optimiser, Clock())
    seconds, split = [], []
    for _ in range(steps):
        clock = Clock()
        begun = time.perf_counter()
        gradient_step(parts, pixels, optimiser, clock)
        seconds.append(time.perf_counter() - begun)
        split.append(clock.seconds)
    return {"steps": seconds, "split": split, "training_peak": peak()} | loading
