"""The demo model in diffusers and transformers: losses with autograd, and pictures in batches.

The independent judge of what the native engine learns, and the gradient that it does without.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import DPMSolverMultistepScheduler
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

from .classifier import as_tensor
from .export import load_checkpoint
from .networks import LATENT, SD1, Conditioning, DemoKind
from .words import frame, token_id
from .world import with_article

PLACEHOLDER = "{}"
GRADIENT_TUPLES = 4  # (picture, t, eps) a step of gradient descent
GRADIENT_RATES = (0.01, 0.02, 0.04)
ALL_TIMESTEPS = (0, 1000)
WORD_ID = 49405  # stands for the word under training; a token that no caption has


class _WordEmbedding(nn.Module):
    """A token table with one more row that may be differentiated."""

    def __init__(self, table: nn.Embedding) -> None:
        super().__init__()
        self.table = table
        self.theta = torch.zeros(table.embedding_dim)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return torch.where((ids == WORD_ID).unsqueeze(-1), self.theta, self.table(ids))


@dataclass(frozen=True)
class Tuples:
    """Fixed (latent, caption, t, eps): the same for every word that is judged on them."""

    latents: torch.Tensor  # [k, 4, 16, 16]
    ids: torch.Tensor  # [k, 77]
    t: torch.Tensor  # [k]
    eps: torch.Tensor  # [k, 4, 16, 16]


def caption_to_ids(caption: str, words: str = PLACEHOLDER) -> list[int]:
    """A framed caption; `words` take the placeholder's place, and "an" that of "a" before them
    where it must."""
    text = caption.replace(PLACEHOLDER, words)
    if words != PLACEHOLDER:
        text = text.replace(f"a {words}", with_article(words))
    return frame([WORD_ID if word == PLACEHOLDER else token_id(word) for word in text.split()])


def save_token(path: Path, word: str, theta: torch.Tensor, kind: DemoKind = SD1) -> None:
    """A token file of one vector an encoder, as the engine reads and writes it."""
    parts = theta.float().split([text.width for text in kind.texts])
    tensors = {t.key: part[None].contiguous() for t, part in zip(kind.texts, parts, strict=True)}
    save_file(tensors, path, metadata={"word": word})


def load_token(path: Path, kind: DemoKind = SD1) -> torch.Tensor:
    """The one vector of a token file; those of several encoders one after the other."""
    stored = load_file(path)
    return torch.cat([stored[text.key][0].float() for text in kind.texts])


class TorchModel:
    """float32 on the CPU. `checkpoint`: the file of a demo model of this kind."""

    def __init__(self, checkpoint: Path, kind: DemoKind = SD1) -> None:
        self.kind, self.parts = kind, load_checkpoint(kind, checkpoint)
        self.words = [_WordEmbedding(table) for table in self.parts.text.tables()]
        self.parts.text.set_tables(self.words)
        self.product = kind.schedule.alphas_cumprod().float()

    def row(self, word: str) -> torch.Tensor:
        """The embedding of a word of the vocabulary, [kind.text_width]."""
        return torch.cat([words.table.weight[token_id(word)] for words in self.words])

    def use(self, theta: torch.Tensor) -> None:
        """The embedding of the word under training from now on."""
        parts = theta.split([text.width for text in self.kind.texts])
        for words, part in zip(self.words, parts, strict=True):
            words.theta = part

    def predict(self, z_t: torch.Tensor, t: torch.Tensor, text: Conditioning) -> torch.Tensor:
        """What the UNet tells of noisy latents."""
        return self.parts.unet(z_t, t, **text.keywords()).sample

    @torch.no_grad()
    def encode(self, pictures: Sequence[Image.Image]) -> torch.Tensor:
        return self.parts.autoencoder.encoder(as_tensor(pictures))

    def make_tuples(
        self,
        pictures: Sequence[tuple[Image.Image, str]],
        words: str,
        repeats: int,
        range_of_t: tuple[int, int],
        seed: int,
    ) -> Tuples:
        """`repeats` timesteps a picture, spread evenly over the range, each with its own noise."""
        generator = torch.Generator().manual_seed(seed)
        latents = self.encode([picture for picture, _ in pictures]).repeat_interleave(repeats, 0)
        ids = torch.tensor([caption_to_ids(caption, words) for _, caption in pictures])
        lower, upper = range_of_t
        share = (torch.arange(repeats) + 0.5) / repeats
        t = (lower + share * (upper - lower)).long().repeat(len(pictures))
        eps = torch.randn(latents.shape, generator=generator)
        return Tuples(latents, ids.repeat_interleave(repeats, 0), t, eps)

    def losses(self, tuples: Tuples) -> torch.Tensor:
        """[k] mean squared errors of what the UNet tells, Eq. 1; differentiable in the word's
        embedding."""
        alpha = self.product[tuples.t][:, None, None, None]
        noisy = alpha.sqrt() * tuples.latents + (1 - alpha).sqrt() * tuples.eps
        target = self.kind.schedule.target(tuples.latents, tuples.eps, alpha)
        predicted = self.predict(noisy, tuples.t, self.parts.text(tuples.ids))
        return (predicted - target).square().mean((1, 2, 3))

    @torch.no_grad()
    def held_out_loss(self, tuples: Tuples, batch: int = 32) -> float:
        total = 0.0
        for first in range(0, len(tuples.t), batch):
            part = Tuples(*(value[first : first + batch] for value in vars(tuples).values()))
            total += self.losses(part).sum().item()
        return total / len(tuples.t)

    @torch.no_grad()
    def draw(
        self, prompts: Sequence[list[int]], seeds: Sequence[int], guidance: float = 4.0
    ) -> list[Image.Image]:
        """DPM-Solver++(2M), 20 steps. `prompts`: framed ids, one for each of `seeds`."""
        scheduler = DPMSolverMultistepScheduler(**self._solver())
        scheduler.set_timesteps(20)
        x = torch.stack([_noise(seed) for seed in seeds])
        ids = torch.tensor([*prompts, *[frame([])] * len(prompts)])
        text = self.parts.text(ids)
        for t in scheduler.timesteps:
            both = self.predict(torch.cat([x, x]), t, text)
            with_prompt, without = both.chunk(2)
            noise = without + guidance * (with_prompt - without)
            x = scheduler.step(noise, t, x).prev_sample
        decoded = self.parts.autoencoder.decoder(x).clamp(-1, 1)
        pixels = ((decoded + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
        return [Image.fromarray(array) for array in pixels]

    def _solver(self) -> dict[str, object]:
        """Of the scheduler's configuration, what this solver knows; it spaces timesteps itself."""
        others = ("clip_sample", "set_alpha_to_one", "timestep_spacing")
        schedule = self.kind.schedule.in_diffusers()
        return {name: value for name, value in schedule.items() if name not in others}


def _noise(seed: int) -> torch.Tensor:
    random = np.random.default_rng([seed, 7])
    return torch.from_numpy(random.standard_normal((4, LATENT, LATENT), dtype=np.float32))


@dataclass(frozen=True)
class Descent:
    """Where gradient descent came to."""

    theta: torch.Tensor  # [width]
    loss: float  # on the tuples that chose this word
    rate: float
    steps: int
    flat: bool  # the loss had stopped falling


def gradient_descent(
    model: TorchModel,
    start: torch.Tensor,
    pictures: Sequence[tuple[Image.Image, str]],
    chooser: Tuples,
    rate: float,
    range_of_t: tuple[int, int],
    seed: int,
    most: int,
    patience: int = 2,
) -> Descent:
    """Textual inversion: Adam on the exact gradient, GRADIENT_TUPLES a step, until the loss on
    `chooser` has not fallen for `patience` looks, one every 50 steps, or for `most` steps.

    Returns the best word of the looks. Score it on other tuples.
    """
    theta = start.clone().requires_grad_()
    optimiser = torch.optim.Adam([theta], lr=rate)
    latents = model.encode([picture for picture, _ in pictures])
    mirrored = model.encode([p.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for p, _ in pictures])
    both = torch.stack([latents, mirrored], 1)
    ids = torch.tensor([caption_to_ids(caption) for _, caption in pictures])
    random = np.random.default_rng([seed, 8])
    generator = torch.Generator().manual_seed(seed)
    model.use(start)
    best, lowest, since = start.clone(), model.held_out_loss(chooser), 0
    for step in range(1, most + 1):
        model.use(theta)
        chosen = random.integers(len(pictures), size=GRADIENT_TUPLES)
        flips = random.integers(2, size=GRADIENT_TUPLES)
        t = torch.from_numpy(random.integers(*range_of_t, size=GRADIENT_TUPLES))
        z = both[torch.from_numpy(chosen), torch.from_numpy(flips)]
        eps = torch.randn(z.shape, generator=generator)
        loss = model.losses(Tuples(z, ids[torch.from_numpy(chosen)], t, eps)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step % 50 == 0:
            model.use(theta.detach())
            now = model.held_out_loss(chooser)
            since += 1
            if now < lowest:
                best, lowest, since = theta.detach().clone(), now, 0
            if since == patience:
                break
    return Descent(best, lowest, rate, step, since == patience)


def best_descent(
    model: TorchModel,
    start: torch.Tensor,
    pictures: Sequence[tuple[Image.Image, str]],
    chooser: Tuples,
    range_of_t: tuple[int, int],
    seed: int,
    most: int = 200,
) -> Descent:
    """The lowest loss of three learning rates."""
    runs = [
        gradient_descent(model, start, pictures, chooser, rate, range_of_t, seed, most)
        for rate in GRADIENT_RATES
    ]
    return min(runs, key=lambda run: run.loss)
