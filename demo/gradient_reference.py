"""What gradient descent reaches on each subject: textual inversion with diffusers and autograd.

    python -m demo.gradient_reference [--model sd1|xl]

writes demo/gradient_reference.json, or that of the model.

Its word is judged as the demo judges its own: drawn by the native engine from the same prompts and
seeds.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
from pathlib import Path

from .classifier import load_classifier, similarity
from .model_file import FILES, FIRST
from .networks import KINDS
from .show import WORD, draw, reference_file
from .subjects import Subject, all_subjects
from .torch_model import (
    ALL_TIMESTEPS,
    GRADIENT_RATES,
    GRADIENT_TUPLES,
    TorchModel,
    best_descent,
    save_token,
)


def measure(model: TorchModel, subject: Subject, seed: int = 0) -> dict[str, float]:
    """Losses on held-out pictures, and the similarity of what the best word draws."""
    chooser, judge = (
        model.make_tuples(subject.held_out(), "{}", repeats, ALL_TIMESTEPS, seed=seed)
        for repeats, seed in ((8, 6), (16, 5))  # timesteps a picture
    )
    start = model.row(subject.look.kind)
    best = best_descent(model, start, subject.captioned(), chooser, ALL_TIMESTEPS, seed)
    losses = []
    for theta in (start, best.theta):
        model.use(theta)
        losses.append(model.held_out_loss(judge))
    with tempfile.TemporaryDirectory() as folder:
        token = Path(folder) / f"{WORD}.safetensors"
        save_token(token, WORD, best.theta, model.kind)
        drawn = draw(FILES[model.kind.name].unpack(), subject, WORD, [token])
    return {
        "similarity": similarity(load_classifier(), drawn.pictures, subject.pictures()),
        "loss_before": losses[0],
        "loss": losses[1],
        "steps": best.steps,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=FILES, default=FIRST, help="default: %(default)s")
    name = parser.parse_args().model
    model = TorchModel(FILES[name].unpack(), KINDS[name])
    found = {}
    for subject in all_subjects():
        found[subject.name] = measure(model, subject)
        print(subject.name, found[subject.name], flush=True)
    content = {
        "how": f"Adam on the exact gradient, {GRADIENT_TUPLES} (picture, t, eps) a step, the best "
        f"of the learning rates {GRADIENT_RATES}",
        "model_sha256": hashlib.sha256(FILES[name].packed.read_bytes()).hexdigest(),
        "subjects": found,
    }
    reference_file(name).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
