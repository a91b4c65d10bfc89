"""Trains the demo model from scratch: scenes, autoencoder, text encoder, UNet, decoder.

    python -m demo.train_model [--work build/demo] [--steps 7500]

It can be stopped: what is done is passed over, and autoencoder, UNet with text encoder go on from
their last checkpoint. All that is random follows from the seed and the step's number.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from transformers import CLIPTextModel

from .classifier import ATTRIBUTES, labels
from .networks import (
    END,
    TEXT_WIDTH,
    TOKENS,
    Vocabulary,
    build_text_encoder,
    build_unet,
)
from .schedule import alphas_cumprod
from .train_autoencoder import encode_all, polish_decoder, train_autoencoder
from .training_scenes import Log, paint_all, save, scene_of
from .words import caption_ids, class_ids, frame, vocabulary_ids
from .world import draw_scene


def build_text_to_train() -> CLIPTextModel:
    """The text encoder with rows for the words that occur alone."""
    text = build_text_encoder()
    text.embeddings.token_embedding = Vocabulary(vocabulary_ids(), class_ids())
    return text


def optimise_text_and(text: CLIPTextModel, others: nn.Module, rate: float) -> torch.optim.AdamW:
    """AdamW in which the rows of words, a tenth as large as other activations, move as much
    slower. Each group's `scale` tells by how much."""
    rows = list(text.embeddings.token_embedding.parameters())
    known = {id(parameter) for parameter in rows}
    rest = [p for module in (text, others) for p in module.parameters() if id(p) not in known]
    groups = [{"params": rest, "scale": 1.0}, {"params": rows, "scale": 0.25}]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.99), weight_decay=0.01, fused=True)


def teach_text(work: Path, steps: int, seed: int, rate: float = 1e-3, batch: int = 64) -> None:
    """Lets the text encoder say, in any of its states from the end of the caption on, what the
    scene's attributes are.

    CLIP's text encoder has learned what captions mean before a diffusion model is trained on it,
    and so has this one: which colour is the body's and which the pattern's is learned from captions
    in minutes, and from noisy pictures hardly at all.
    """
    path = work / "text.pt"
    if path.exists():
        return
    torch.manual_seed(seed)
    text = build_text_to_train()
    heads = nn.ModuleList(nn.Linear(TEXT_WIDTH, len(values)) for values in ATTRIBUTES.values())
    optimiser = optimise_text_and(text, heads, rate)
    log = Log("text encoder", steps)
    for step in range(steps):
        random = np.random.default_rng([seed, 5, step])
        scenes = [draw_scene(random) for _ in range(batch)]
        ids = torch.tensor([caption_ids(scene, random) for scene in scenes])
        truth = torch.tensor([labels(scene) for scene in scenes])
        after = (ids == END).int().argmax(1)[:, None]
        share = torch.from_numpy(random.random((batch, 4), dtype=np.float32))
        places = (after + share * (TOKENS - after)).long()
        for group in optimiser.param_groups:
            level = 0.5 * (1 + math.cos(math.pi * step / steps))
            group["lr"] = rate * group["scale"] * min(1, (step + 1) / 100) * max(0.02, level)
        states = text(ids).last_hidden_state[torch.arange(batch)[:, None], places]
        loss = sum(
            F.cross_entropy(head(states).flatten(0, 1), truth[:, i].repeat_interleave(4))
            for i, head in enumerate(heads)
        )
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        log.add(step, loss.item())
    save(path, text.state_dict())


class TextToNoise(nn.Module):
    """Text encoder and UNet as one module to train."""

    def __init__(self) -> None:
        super().__init__()
        self.text = build_text_to_train()
        self.unet = build_unet()

    def forward(self, noisy: torch.Tensor, t: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        context = self.text(ids).last_hidden_state
        return self.unet(noisy, t, encoder_hidden_states=context).sample


def _timestep_shares() -> np.ndarray:
    """Min-SNR-5 (Hang et al. 2023) as the probability of a timestep rather than as its weight: the
    same expected gradient with less noise."""
    product = alphas_cumprod()
    snr = product / (1 - product)
    shares = (snr.clamp(max=5) / snr).numpy()
    return shares / shares.sum()


class ModelTraining:
    """AdamW on text encoder and UNet with a moving average of the weights."""

    RATE = 1e-3
    BATCH = 16
    AVERAGE = 0.9985

    def __init__(self, work: Path, latents: torch.Tensor, steps: int, seed: int) -> None:
        self.path, self.latents, self.steps, self.seed = work / "model.pt", latents, steps, seed
        torch.manual_seed(seed)
        self.model = TextToNoise()
        self.model.text.load_state_dict(torch.load(work / "text.pt"))
        self.optimiser = optimise_text_and(self.model.text, self.model.unet, self.RATE)
        self.average = {k: v.clone() for k, v in self.model.state_dict().items()}
        self.done = 0
        self.root = alphas_cumprod().float()
        self.shares = _timestep_shares()
        if self.path.exists():
            self._load()
        now = self.model.state_dict()
        floating = [name for name, value in now.items() if value.is_floating_point()]
        self.averaged = [self.average[name] for name in floating]
        self.moving = [now[name] for name in floating]

    def _load(self) -> None:
        state = torch.load(self.path)
        self.model.load_state_dict(state["model"])
        self.average, self.done = state["average"], state["step"]
        self.optimiser.load_state_dict(state["optimiser"])

    def _save(self) -> None:
        content = {"model": self.model.state_dict(), "average": self.average, "step": self.done}
        save(self.path, content | {"optimiser": self.optimiser.state_dict()})

    def _rate(self, step: int) -> float:
        """Warm-up, then level, then a straight line to nearly nothing over the last 60 %."""
        share = step / self.steps
        return self.RATE * min(1, (step + 1) / 200) * max(0.02, min(1, (1 - share) / 0.6))

    def _batch(self, step: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Latents, timesteps and token ids."""
        random = np.random.default_rng([self.seed, 2, step])
        chosen = random.choice(len(self.latents), self.BATCH, replace=False)
        ids = [
            frame([]) if random.random() < 0.1 else caption_ids(scene_of(i, self.seed)[0], random)
            for i in map(int, chosen)
        ]
        t = torch.from_numpy(random.choice(1000, self.BATCH, p=self.shares))
        return self.latents[torch.from_numpy(chosen)], t, torch.tensor(ids)

    def step(self, step: int) -> float:
        for group in self.optimiser.param_groups:
            group["lr"] = self._rate(step) * group["scale"]
        latents, t, ids = self._batch(step)
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        noise = torch.randn(latents.shape, generator=generator)
        alpha = self.root[t][:, None, None, None]
        predicted = self.model(alpha.sqrt() * latents + (1 - alpha).sqrt() * noise, t, ids)
        loss = F.mse_loss(predicted, noise)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        with torch.no_grad():
            keep = min(self.AVERAGE, (step + 1) / (step + 10))
            torch._foreach_lerp_(self.averaged, self.moving, 1 - keep)
        return loss.item()

    def run(self) -> None:
        log = Log("model", self.steps)
        for step in range(self.done, self.steps):
            log.add(step, self.step(step))
            self.done = step + 1
            if self.done % 500 == 0 or self.done == self.steps:
                self._save()


def _keep_to_one_plan(work: Path, options: argparse.Namespace) -> None:
    """A work folder holds stages of one seed and of these lengths: others would not fit."""
    names = ("seed", "autoencoder_steps", "text_steps", "steps")
    plan = {name: getattr(options, name) for name in names}
    path = work / "plan.json"
    if not path.exists():
        path.write_text(json.dumps(plan), encoding="utf-8")
    begun = json.loads(path.read_text("utf-8"))
    if begun != plan:
        raise SystemExit(f"{work} was begun with {begun}, not {plan}: name another --work")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("build/demo"))
    parser.add_argument("--steps", type=int, default=7500, help="of text encoder and UNet")
    parser.add_argument("--autoencoder-steps", type=int, default=4500)
    parser.add_argument("--text-steps", type=int, default=700, help="of the text encoder alone")
    parser.add_argument("--decoder-steps", type=int, default=2000, help="of the decoder alone")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    _keep_to_one_plan(options.work, options)
    pictures = paint_all(options.work, options.seed)
    autoencoder = train_autoencoder(options.work, pictures, options.autoencoder_steps, options.seed)
    latents = encode_all(options.work, autoencoder, pictures)
    teach_text(options.work, options.text_steps, options.seed)
    ModelTraining(options.work, latents, options.steps, options.seed).run()
    polish_decoder(options.work, latents, pictures, options.decoder_steps, options.seed)


if __name__ == "__main__":
    main()
