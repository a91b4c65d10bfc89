"""How far the held-out loss falls in one short training, and how much that differs from seed to
seed. The end-to-end test takes its margin from here.

    python -m zoodip.bench spread [--seeds 8]
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import os
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
import zoodip

from demo.model_file import unpack
from demo.subjects import find_subject
from demo.torch_model import ALL_TIMESTEPS, TorchModel, Tuples, load_token

SUBJECT = "orange_striped_cat"
STEPS = 1200
REPEATS = 16  # timesteps a held-out picture


def held_out(model: TorchModel) -> Tuples:
    """What words for the subject are judged on."""
    pictures = find_subject(SUBJECT).held_out()
    return model.make_tuples(pictures, "{}", REPEATS, ALL_TIMESTEPS, seed=5)


def train(out: Path, **settings: Any) -> None:
    """A training from the initialiser of the wrong class. `settings`: beside the defaults."""
    subject = find_subject(SUBJECT)
    words = {"word": "zwx", "init": subject.wrong_class, "out": out}
    zoodip.train(unpack(), subject.folder, **words, **settings)


def fall_of_loss(seed: int, threads: int = 0) -> tuple[float, float]:
    """Held-out loss before and after a training from an initialiser of the wrong class.

    The held-out pictures stand before backgrounds that the training pictures do not have; before
    and after are judged on the same (picture, t, eps), by diffusers.
    """
    subject = find_subject(SUBJECT)
    model = TorchModel(unpack())
    tuples = held_out(model)
    model.use(model.row(subject.wrong_class))
    before = model.held_out_loss(tuples)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "word.safetensors"
        train(out, steps=STEPS, seed=seed, threads=threads)
        model.use(load_token(out))
    return before, model.held_out_loss(tuples)


def margin(falls: list[float]) -> float:
    """What a training falls short of once in many thousands: four deviations below the mean."""
    return statistics.mean(falls) - 4 * statistics.stdev(falls)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m zoodip.bench spread", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--seeds", type=int, default=8)
    options = parser.parse_args(arguments)
    begun = time.monotonic()
    context = multiprocessing.get_context("spawn")
    work = functools.partial(fall_of_loss, threads=1)
    with ProcessPoolExecutor(os.cpu_count(), context, torch.set_num_threads, (1,)) as pool:
        pairs = list(pool.map(work, range(options.seeds)))
    falls = [before - after for before, after in pairs]
    print(f"{SUBJECT}, {STEPS} steps from the wrong class, loss before {pairs[0][0]:.5f}")
    print("falls: " + ", ".join(f"{fall:.5f}" for fall in falls))
    print(
        f"mean {statistics.mean(falls):.5f}, deviation {statistics.stdev(falls):.5f}, "
        f"margin {margin(falls):.5f}; {(time.monotonic() - begun) / 60:.1f} minutes"
    )
