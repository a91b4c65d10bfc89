"""Trains a demo model from scratch: scenes, autoencoder, text encoders, UNet, decoder.

    python -m demo.train_model [--model sd1|xl|narrow] [--work build/demo] [--steps 7500]

The other models take the first one's autoencoder, and `narrow`, which is not shipped, is written to
its work folder. It can be stopped: what is done is passed over,
and autoencoder, UNet with text encoders go on from their last checkpoint. All that is random
follows from the seed and the step's number.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .classifier import ATTRIBUTES, labels
from .export import load_checkpoint, load_trained, write_checkpoint
from .model_file import FILES
from .networks import (
    END,
    KINDS,
    PLAIN_SIZES,
    SD1,
    TOKENS,
    DemoKind,
    TextEncoders,
    Vocabulary,
    build_unet,
)
from .sized_views import encode_sized
from .train_autoencoder import encode_all, polish_decoder, train_autoencoder
from .training_scenes import SCENES, Log, checkpoint_of, paint_all, save, scene_of, work_folder
from .words import caption_ids, class_ids, frame, vocabulary_ids
from .world import draw_scene


def build_text_to_train(kind: DemoKind) -> TextEncoders:
    """The text encoders with rows for the words that occur alone."""
    text = TextEncoders(kind)
    text.set_tables(
        [Vocabulary(vocabulary_ids(one.padding), class_ids(), one.width) for one in kind.texts]
    )
    return text


def optimise_text_and(text: TextEncoders, others: nn.Module, rate: float) -> torch.optim.AdamW:
    """AdamW in which the rows of words, a tenth as large as other activations, move as much
    slower. Each group's `scale` tells by how much."""
    rows = [parameter for table in text.tables() for parameter in table.parameters()]
    known = {id(parameter) for parameter in rows}
    rest = [p for module in (text, others) for p in module.parameters() if id(p) not in known]
    groups = [{"params": rest, "scale": 1.0}, {"params": rows, "scale": 0.25}]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.99), weight_decay=0.01, fused=True)


class _Readers(nn.Module):
    """Reads a scene's attributes from each text encoder's states, and from the pooled vector."""

    def __init__(self, kind: DemoKind) -> None:
        super().__init__()
        self.widths = [text.width for text in kind.texts]
        widths = [*self.widths, *(text.width for text in kind.texts if text.pooled)]
        self.heads = nn.ModuleList(
            nn.ModuleList(nn.Linear(width, len(values)) for values in ATTRIBUTES.values())
            for width in widths
        )

    def loss(self, states: Tensor, pooled: Tensor | None, truth: Tensor) -> Tensor:
        """states [b, places, width], pooled [b, width], truth [b, attributes]."""
        read = list(states.split(self.widths, 2))
        if pooled is not None:
            read.append(pooled[:, None])
        losses = [
            F.cross_entropy(head(state).flatten(0, 1), value.repeat_interleave(state.shape[1]))
            for state, heads in zip(read, self.heads, strict=True)
            for head, value in zip(heads, truth.T, strict=True)
        ]
        return torch.stack(losses).sum() / len(read)


def teach_text(
    work: Path, kind: DemoKind, steps: int, seed: int, rate: float = 1e-3, batch: int = 64
) -> None:
    """Lets the text encoders say, in any of their states from the end of the caption on and in the
    pooled one, what the scene's attributes are.

    CLIP's text encoder has learned what captions mean before a diffusion model is trained on it,
    and so have these: which colour is the body's and which the pattern's is learned from captions
    in minutes, and from noisy pictures hardly at all.
    """
    path = work / "text.pt"
    if path.exists():
        return
    torch.manual_seed(seed)
    text, readers = build_text_to_train(kind), _Readers(kind)
    optimiser = optimise_text_and(text, readers, rate)
    log = Log("text encoders", steps)
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
        read = text(ids)
        loss = readers.loss(read.context[torch.arange(batch)[:, None], places], read.pooled, truth)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        log.add(step, loss.item())
    save(path, text.state_dict())


class TextAndUNet(nn.Module):
    """Text encoders and UNet as one module to train."""

    def __init__(self, kind: DemoKind) -> None:
        super().__init__()
        self.text = build_text_to_train(kind)
        self.unet = build_unet(kind)

    def forward(self, noisy: Tensor, t: Tensor, ids: Tensor, sizes: Tensor) -> Tensor:
        return self.unet(noisy, t, **self.text(ids).keywords(sizes)).sample


def _timestep_shares(kind: DemoKind) -> np.ndarray:
    """Min-SNR-5 (Hang et al. 2023) as the probability of a timestep rather than as its weight: the
    same expected gradient with less noise. For v the half of them is spread evenly, since its
    weight leaves out the steps without signal, where sampling begins."""
    product = kind.schedule.alphas_cumprod()
    snr = product / (1 - product)
    if not kind.schedule.predicts_v:
        shares = (snr.clamp(max=5) / snr).numpy()
        return shares / shares.sum()
    shares = (snr.clamp(max=5) / (snr + 1)).numpy()
    return 0.5 * shares / shares.sum() + 0.5 / len(shares)


class ModelTraining:
    """AdamW on text encoders and UNet with a moving average of the weights."""

    RATE = 1e-3
    BATCH = 16
    AVERAGE = 0.9985

    def __init__(
        self, work: Path, kind: DemoKind, latents: Tensor, sizes: Tensor, steps: int, seed: int
    ) -> None:
        self.path, self.steps, self.seed = work / "model.pt", steps, seed
        self.latents, self.sizes = latents, sizes
        self.schedule = kind.schedule
        torch.manual_seed(seed)
        self.model = TextAndUNet(kind)
        self.model.text.load_state_dict(torch.load(work / "text.pt"))
        self.optimiser = optimise_text_and(self.model.text, self.model.unet, self.RATE)
        self.average = {k: v.clone() for k, v in self.model.state_dict().items()}
        self.done = 0
        self.product = kind.schedule.alphas_cumprod().float()
        self.shares = _timestep_shares(kind)
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

    def _batch(self, step: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Latents, timesteps, token ids and sizes."""
        random = np.random.default_rng([self.seed, 2, step])
        chosen = random.choice(len(self.latents), self.BATCH, replace=False)
        ids = [
            frame([]) if random.random() < 0.1 else caption_ids(scene_of(i, self.seed)[0], random)
            for i in map(int, chosen)
        ]
        t = torch.from_numpy(random.choice(len(self.shares), self.BATCH, p=self.shares))
        places = torch.from_numpy(chosen)
        return self.latents[places], t, torch.tensor(ids), self.sizes[places]

    def step(self, step: int) -> float:
        for group in self.optimiser.param_groups:
            group["lr"] = self._rate(step) * group["scale"]
        latents, t, ids, sizes = self._batch(step)
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        noise = torch.randn(latents.shape, generator=generator)
        alpha = self.product[t][:, None, None, None]
        noisy = alpha.sqrt() * latents + (1 - alpha).sqrt() * noise
        target = self.schedule.target(latents, noise, alpha)
        loss = F.mse_loss(self.model(noisy, t, ids, sizes), target)
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
    names = ("model", "seed", "scenes", "autoencoder_steps", "text_steps", "steps")
    plan = {name: getattr(options, name) for name in names}
    path = work / "plan.json"
    if not path.exists():
        path.write_text(json.dumps(plan), encoding="utf-8")
    begun = {"scenes": SCENES} | json.loads(path.read_text("utf-8"))
    if begun != plan:
        raise SystemExit(f"{work} was begun with {begun}, not {plan}: name another --work")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=KINDS, default=SD1.name, help="default: %(default)s")
    parser.add_argument(
        "--work", type=Path, help="default: build/demo, build/demo-xl, build/demo-narrow"
    )
    parser.add_argument(
        "--scenes", type=int, default=SCENES, help="that are learned from, at most %(default)s"
    )
    parser.add_argument("--steps", type=int, default=7500, help="of text encoders and UNet")
    parser.add_argument("--autoencoder-steps", type=int, default=4500, help="of the first model's")
    parser.add_argument("--text-steps", type=int, default=700, help="of the text encoders alone")
    parser.add_argument("--decoder-steps", type=int, default=2000, help="of the decoder alone")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    kind = KINDS[options.model]
    work = options.work or work_folder(kind.name)
    work.mkdir(parents=True, exist_ok=True)
    _keep_to_one_plan(work, options)
    pictures = paint_all(work, options.seed)[: options.scenes]
    if kind is SD1:
        autoencoder = train_autoencoder(work, pictures, options.autoencoder_steps, options.seed)
    else:
        autoencoder = load_checkpoint(SD1).autoencoder.to(memory_format=torch.channels_last)
    if kind.pooled:
        latents, sizes = encode_sized(work, autoencoder, pictures, options.seed)
    else:
        latents = encode_all(work, autoencoder, pictures)
        sizes = torch.tensor([PLAIN_SIZES]).expand(len(latents), -1)
    teach_text(work, kind, options.text_steps, options.seed)
    ModelTraining(work, kind, latents, sizes, options.steps, options.seed).run()
    if kind is SD1:
        polish_decoder(work, latents, pictures, options.decoder_steps, options.seed)
    if kind.name not in FILES:
        write_checkpoint(load_trained(kind, work), checkpoint_of(kind.name, work))


if __name__ == "__main__":
    main()
