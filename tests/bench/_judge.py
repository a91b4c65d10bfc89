"""The judge of the benchmarks: words for one subject, on held-out pictures, by diffusers."""

from __future__ import annotations

import functools

import torch

from demo.classifier import (
    ATTRIBUTES,
    Classifier,
    as_tensor,
    labels,
    load_classifier,
    read,
    similarity,
)
from demo.networks import KINDS
from demo.subjects import Subject, find_subject
from demo.torch_model import (
    ALL_TIMESTEPS,
    Descent,
    TorchModel,
    Tuples,
    best_descent,
    caption_to_ids,
)
from demo.training_scenes import checkpoint_of
from demo.world import Scene

REPEATS = 16  # timesteps a held-out picture
CHOOSING_REPEATS = 8  # the same, where gradient descent looks whether it still falls
DRAWN_SEEDS = (11, 12)


class Judge:
    """Judges words for one subject."""

    def __init__(self, model: TorchModel, classifier: Classifier, subject: Subject) -> None:
        self.model, self.classifier, self.subject = model, classifier, subject
        self.references = subject.pictures()
        self.held_out = subject.held_out()
        self.tuples = self.tuples_for("{}")

    def tuples_for(self, words: str, seed: int = 5, repeats: int = REPEATS) -> Tuples:
        return self.model.make_tuples(self.held_out, words, repeats, ALL_TIMESTEPS, seed)

    def loss(self, theta: torch.Tensor) -> float:
        self.model.use(theta)
        return self.model.held_out_loss(self.tuples)

    def descend(self, initialiser: str, most: int) -> Descent:
        """Textual inversion in at most `most` steps, the best of three learning rates; it is
        chosen on other tuples than those that judge it."""
        return best_descent(
            self.model,
            self.model.row(initialiser),
            self.subject.captioned(),
            self.tuples_for("{}", seed=6, repeats=CHOOSING_REPEATS),
            ALL_TIMESTEPS,
            0,
            most,
        )

    def scores(self, words: str = "{}") -> tuple[float, float, float]:
        """Similarity to the references, attributes and places as asked for."""
        prompts, truth = [], []
        for prompt, place in zip(self.subject.prompts, self.subject.other_places, strict=True):
            prompts += [caption_to_ids(prompt, words)] * len(DRAWN_SEEDS)
            truth += [labels(Scene(self.subject.look, place))] * len(DRAWN_SEEDS)
        drawn = self.model.draw(prompts, DRAWN_SEEDS * len(self.subject.prompts))
        right = (read(self.classifier, as_tensor(drawn)) == torch.tensor(truth)).float().mean(0)
        place = list(ATTRIBUTES).index("place")
        look = torch.cat([right[:place], right[place + 1 :]])
        alike = similarity(self.classifier, drawn, self.references)
        return alike, look.mean().item(), right[place].item()


@functools.cache
def _torch_model(model: str) -> TorchModel:
    return TorchModel(checkpoint_of(model), KINDS[model])


@functools.cache
def judge_of(subject: str, model: str) -> Judge:
    """One demo model a process serves all its judges."""
    return Judge(_torch_model(model), load_classifier(), find_subject(subject))
