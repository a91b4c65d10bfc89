"""A small classifier of the demo world's attributes, the judge of what is drawn.

Its reading of a picture is compared with the prompt (as CLIP-T compares text and picture), and its
penultimate features with those of reference pictures (as CLIP-I and DINO compare pictures).

    python -m demo.classifier [--work build/demo]      trains it on the scenes' ground truth
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

from .world import CLASSES, COLOURS, PATTERNS, PLACES, Scene

WEIGHTS = Path(__file__).resolve().parent / "model" / "classifier.safetensors"

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "class": CLASSES,
    "body": tuple(COLOURS),
    "second": tuple(COLOURS),
    "pattern": tuple(PATTERNS),
    "place": PLACES,
}


def labels(scene: Scene) -> list[int]:
    """One index for each of ATTRIBUTES."""
    look = scene.look
    values = (look.kind, look.body, look.second, look.pattern, scene.place)
    return [names.index(value) for names, value in zip(ATTRIBUTES.values(), values, strict=True)]


class Classifier(nn.Module):
    """Five strided convolutions; features [b, 128]; one linear reading for each attribute.

    The place has features of its own, so that the other features are the object's.
    """

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 32, 64, 96, 128, 128)
        layers: list[nn.Module] = []
        for inputs, outputs in zip(widths, widths[1:], strict=False):
            layers += [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.BatchNorm2d(outputs)]
            layers += [nn.ReLU()]
        self.body = nn.Sequential(*layers, nn.Flatten())
        self.object = nn.Linear(128 * 16, 128)
        self.place = nn.Linear(128 * 16, 32)
        self.heads = nn.ModuleDict(
            {
                name: nn.Linear(32 if name == "place" else 128, len(values))
                for name, values in ATTRIBUTES.items()
            }
        )

    def features(self, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """float32 [b, 3, 128, 128] in [-1, 1] -> of the object [b, 128], of the place [b, 32]."""
        grid = self.body(pictures)
        return F.relu(self.object(grid)), F.relu(self.place(grid))

    def forward(self, pictures: torch.Tensor) -> dict[str, torch.Tensor]:
        """Logits by attribute."""
        of_object, of_place = self.features(pictures)
        return {
            name: head(of_place if name == "place" else of_object)
            for name, head in self.heads.items()
        }


def load_classifier(path: Path = WEIGHTS) -> Classifier:
    classifier = Classifier()
    classifier.load_state_dict({name: value.float() for name, value in load_file(path).items()})
    return classifier.requires_grad_(False).eval()


def as_tensor(pictures: Sequence[Image.Image]) -> torch.Tensor:
    """[b, 3, 128, 128] in [-1, 1]."""
    arrays = np.stack(
        [np.asarray(picture.convert("RGB").resize((128, 128))) for picture in pictures]
    )
    return torch.from_numpy(arrays).permute(0, 3, 1, 2).float() / 127.5 - 1


def read(classifier: Classifier, pictures: torch.Tensor) -> torch.Tensor:
    """The most likely value of each attribute, [b, attributes]."""
    logits = classifier(pictures)
    return torch.stack([logits[name].argmax(1) for name in ATTRIBUTES], 1)


def similarity(
    classifier: Classifier, drawn: Sequence[Image.Image], references: Sequence[Image.Image]
) -> float:
    """Mean cosine of the objects' features over all pairs of a drawn and a reference picture."""
    ours = F.normalize(classifier.features(as_tensor(drawn))[0], dim=1)
    theirs = F.normalize(classifier.features(as_tensor(references))[0], dim=1)
    return (ours @ theirs.T).mean().item()


def place_accuracy(
    classifier: Classifier, drawn: Sequence[Image.Image], places: Sequence[str]
) -> float:
    """The share of pictures whose place is read as the prompt's."""
    read_as = classifier(as_tensor(drawn))["place"].argmax(1).tolist()
    hits = [PLACES[index] == place for index, place in zip(read_as, places, strict=True)]
    return sum(hits) / len(hits)


def _train(work: Path, steps: int, seed: int) -> Classifier:
    """A few pictures of each batch went through the autoencoder, which softens what it decodes."""
    from .networks import build_autoencoder
    from .training_scenes import Log, paint_all, scene_of, to_tensor

    pictures = paint_all(work, seed)
    latents = torch.load(work / "latents.pt")
    autoencoder = build_autoencoder()
    autoencoder.load_state_dict(torch.load(work / "autoencoder.pt")["model"])
    autoencoder.requires_grad_(False).eval()
    held = 512
    truth = torch.tensor([labels(scene_of(i, seed)[0]) for i in range(len(pictures))])
    torch.manual_seed(seed)
    classifier = Classifier().train()
    optimiser = torch.optim.AdamW(classifier.parameters(), lr=2e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps)
    log = Log("classifier", steps)
    for step in range(steps):
        random = np.random.default_rng([seed, 3, step])
        chosen = np.sort(random.choice(len(pictures) - held, 32, replace=False))
        batch = to_tensor(pictures[chosen])
        softened = torch.from_numpy(random.choice(32, 6, replace=False))
        noisy = latents[torch.from_numpy(chosen)[softened]].float()
        noisy = noisy + 0.1 * torch.from_numpy(random.standard_normal(noisy.shape)).float()
        batch[softened] = autoencoder.decoder(noisy).clamp(-1, 1)
        shift = random.integers(-6, 7, 2)
        batch = torch.roll(batch, tuple(map(int, shift)), (2, 3))
        logits = classifier(batch)
        loss = sum(
            F.cross_entropy(logits[name], truth[chosen, i], label_smoothing=0.02)
            for i, name in enumerate(ATTRIBUTES)
        )
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        log.add(step, loss.item())
    classifier.requires_grad_(False).eval()
    for name, batch in (
        ("scenes", to_tensor(pictures[-held:])),
        ("decoded", autoencoder.decoder(latents[-held:].float()).clamp(-1, 1)),
    ):
        right = (read(classifier, batch) == truth[-held:]).float().mean(0)
        print(name, {k: round(v.item(), 3) for k, v in zip(ATTRIBUTES, right, strict=True)})
    return classifier


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("build/demo"))
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    classifier = _train(options.work, options.steps, options.seed)
    state = classifier.state_dict()
    WEIGHTS.parent.mkdir(exist_ok=True)
    halves = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    save_file(halves, WEIGHTS)
    print(WEIGHTS, WEIGHTS.stat().st_size)


if __name__ == "__main__":
    main()
