"""The reference: one step of ZOODiP as its public script (arXiv 2503.14868) makes it, in plain form
with diffusers and optimum-quanto, eager.

Each step encodes the picture with the VAE; the base point and the n perturbed ones pass through
text encoder and UNet one after another, each as a batch of 1. All parts are INT8 (weights). Of XL
both text encoders' rows are moved, as the paper does; its script has no such path.
"""

from __future__ import annotations

import contextlib
import importlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from optimum.quanto import freeze, qint8, quantize
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from ._step_memory import begin_training_peak, peak

TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
WORD = 48000  # the row of the embedding that is trained
# "a photo of a {}", padded to 77 tokens.
TOKENS = [49406, 320, 1125, 539, 320, WORD] + [49407] * 71
MU, LEARNING_RATE = 1e-3, 5e-3
T_LOWER, T_UPPER = 500, 900


@dataclass
class Clock:
    """Seconds by part."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextlib.contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - begun


@dataclass
class Parts:
    text_encoder: CLIPTextModel
    vae: AutoencoderKL
    unet: UNet2DConditionModel
    scheduler: DDIMScheduler
    text_encoder_2: CLIPTextModelWithProjection | None = None  # of XL

    @property
    def text_encoders(self) -> list[torch.nn.Module]:
        both = (self.text_encoder, self.text_encoder_2)
        return [encoder for encoder in both if encoder is not None]

    @property
    def modules(self) -> list[torch.nn.Module]:
        return [*self.text_encoders, self.unet, self.vae]

    @property
    def rows(self) -> list[torch.Tensor]:
        """The word's, of each text encoder."""
        return [encoder.get_input_embeddings().weight[WORD] for encoder in self.text_encoders]

    def condition(self, resolution: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The states that the UNet attends to, and what it takes beside them."""
        ids = torch.tensor([TOKENS])
        if self.text_encoder_2 is None:
            return self.text_encoder(ids)[0], {}
        first = self.text_encoder(ids, output_hidden_states=True)
        second = self.text_encoder_2(ids, output_hidden_states=True)
        states = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], -1)
        sizes = torch.tensor([[resolution, resolution, 0, 0, resolution, resolution]])
        return states, {"text_embeds": second.text_embeds, "time_ids": sizes.to(states.dtype)}


def load_vae(folder: Path, dtype: torch.dtype) -> AutoencoderKL:
    return AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=dtype)


def load(folder: Path, dtype: torch.dtype) -> Parts:
    """The parts from a diffusers folder, not quantised, in `dtype`."""
    parts = Parts(
        CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=dtype),
        load_vae(folder, dtype),
        UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=dtype),
        DDIMScheduler.from_pretrained(folder / "scheduler"),
    )
    if (folder / "text_encoder_2").is_dir():
        parts.text_encoder_2 = CLIPTextModelWithProjection.from_pretrained(
            folder / "text_encoder_2", dtype=dtype
        )
    parts.unet.to(memory_format=torch.channels_last)
    for part in parts.modules:
        part.requires_grad_(False)
    return parts


def quantise(module: torch.nn.Module) -> None:
    """INT8 weights. Casts come before: quanto refuses to cast what it has frozen."""
    quantize(module, weights=qint8)
    freeze(module)


class ZOAdam:
    """Adam (betas 0.9 and 0.999) on an estimated gradient, eps 1e-3."""

    def __init__(self) -> None:
        self.steps, self.m, self.v = 0, 0.0, 0.0

    def step(self, gradient: torch.Tensor, n: int) -> torch.Tensor:
        """How far the rows move."""
        self.steps += 1
        gradient = gradient / ((gradient.numel() + n - 1) / n) ** 0.5
        self.m = 0.9 * self.m + 0.1 * gradient
        self.v = 0.999 * self.v + 0.001 * gradient**2
        m = self.m / (1 - 0.9**self.steps)
        v = self.v / (1 - 0.999**self.steps)
        return -LEARNING_RATE * m / (v.sqrt() + 1e-3)


@torch.no_grad()
def encode(vae: AutoencoderKL, pixels: torch.Tensor) -> torch.Tensor:
    """A sample of the latent, [1, 4, height / 8, width / 8]."""
    return vae.encode(pixels).latent_dist.sample() * vae.config.scaling_factor


def noisy_latents(
    parts: Parts, pixels: torch.Tensor, clock: Clock
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What a step looks at, drawn anew: the noise, the timestep [1], the latents with the noise."""
    with clock("vae"):
        latents = encode(parts.vae, pixels)
    noise = torch.randn_like(latents)
    timesteps = torch.randint(T_LOWER, T_UPPER, (1,))
    return noise, timesteps, parts.scheduler.add_noise(latents, noise, timesteps)


@torch.no_grad()
def zeroth_order_step(
    parts: Parts, pixels: torch.Tensor, n: int, optimiser: ZOAdam, clock: Clock
) -> None:
    """One-sided differences along n random directions; moves the word's row of the embedding."""
    noise, timesteps, noisy = noisy_latents(parts, pixels, clock)
    rows, sizes = parts.rows, [row.numel() for row in parts.rows]

    def loss() -> torch.Tensor:
        with clock("text"):
            states, beside = parts.condition(pixels.shape[-1])
        with clock("unet"):
            prediction = parts.unet(noisy, timesteps, states, added_cond_kwargs=beside).sample
        return F.mse_loss(prediction.float(), noise.float())

    def move(by: torch.Tensor) -> None:
        for row, part in zip(rows, by.split(sizes), strict=True):
            row.add_(part)

    base = loss()
    gradient = torch.zeros(sum(sizes), dtype=rows[0].dtype)
    for _ in range(n):
        direction = torch.randn_like(gradient)
        move(MU * direction)
        gradient += (loss() - base) / MU * direction / n
        move(-MU * direction)
    move(optimiser.step(gradient, n))


@contextlib.contextmanager
def linear_path(path: str) -> Iterator[None]:
    """How quanto multiplies bf16 activations by INT8 weights: "packed", its own choice
    (torch._weight_int8pack_mm, which needs contiguous activations: here they are made so), or
    "dequantised", what it does in float32 (dequantise and matmul). In float32 both are the
    latter."""
    module = importlib.import_module("optimum.quanto.library.qbytes_mm")
    packed = module.qbytes_int8pack_mm

    def on_contiguous(x: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        return packed(x.contiguous(), weight, scale)

    product = {"packed": on_contiguous, "dequantised": module.qbytes_mm}[path]
    with mock.patch.object(module, "qbytes_int8pack_mm", product):
        yield


def random_pixels(resolution: int, dtype: torch.dtype) -> torch.Tensor:
    return (torch.rand(1, 3, resolution, resolution) * 2 - 1).to(dtype)


def run_steps(parts: Parts, pixels: torch.Tensor, n: int, steps: int) -> dict[str, Any]:
    """Seconds of each of `steps` steps after one to warm up, and of their parts."""
    optimiser = ZOAdam()
    zeroth_order_step(parts, pixels, n, optimiser, Clock())
    seconds, split = [], []
    for _ in range(steps):
        clock = Clock()
        begun = time.perf_counter()
        zeroth_order_step(parts, pixels, n, optimiser, clock)
        seconds.append(time.perf_counter() - begun)
        split.append(clock.seconds)
    return {"steps": seconds, "split": split}


def train(
    folder: str, compute: str, path: str, resolution: int, n: int, threads: int, steps: int
) -> dict[str, Any]:
    """Worker: seconds of each step and its parts, of loading (quantising included), and bytes at
    the peak of each."""
    torch.set_num_threads(threads)
    begun = time.perf_counter()
    parts = load(Path(folder), TYPES[compute])
    for part in parts.modules:
        quantise(part)
    loading = {"load": time.perf_counter() - begun, "loading_peak": peak()}
    begin_training_peak()
    with linear_path(path):
        result = run_steps(parts, random_pixels(resolution, TYPES[compute]), n, steps)
    return result | loading | {"training_peak": peak()}


def linear_paths(folder: str, compute: str, resolution: int, threads: int) -> dict[str, float]:
    """Worker: seconds of one step of n = 1 by each of quanto's linear paths."""
    torch.set_num_threads(threads)
    parts = load(Path(folder), TYPES[compute])
    for part in parts.modules:
        quantise(part)
    seconds = {}
    for path in ("packed", "dequantised"):
        with linear_path(path):
            result = run_steps(parts, random_pixels(resolution, TYPES[compute]), 1, 1)
        seconds[path] = result["steps"][0]
    return seconds


def encode_steps(
    folder: str, compute: str, path: str, resolution: int, steps: int, threads: int
) -> dict[str, Any]:
    """Worker: seconds of each VAE encode by the quantised VAE."""
    torch.set_num_threads(threads)
    vae = load_vae(Path(folder), TYPES[compute])
    quantise(vae)
    pixels = random_pixels(resolution, TYPES[compute])
    seconds = []
    with linear_path(path):
        for _ in range(steps + 1):
            begun = time.perf_counter()
            encode(vae, pixels)
            seconds.append(time.perf_counter() - begun)
    return {"steps": seconds[1:]}
