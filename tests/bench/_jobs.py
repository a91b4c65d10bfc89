"""Files written whole, and jobs that run side by side."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import TypeVar

import torch

Job = TypeVar("Job")
Result = TypeVar("Result")


def write_text(path: Path, text: str) -> None:
    """Whole or not at all."""
    staging = path.with_suffix(".partial")
    staging.write_text(text, encoding="utf-8")
    os.replace(staging, path)


def cores() -> int:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def side_by_side(run: Callable[[Job], Result], jobs: Sequence[Job]) -> Iterator[Result]:
    """Starts the jobs in order, one a core with one thread each, and yields results as they come.

    `run` and the jobs travel to other processes, so they are picklable. An exception in one of
    them is raised here, and jobs that were not begun are dropped.
    """
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    with ProcessPoolExecutor(cores(), context, torch.set_num_threads, (1,)) as pool:
        running = [pool.submit(run, job) for job in jobs]
        try:
            for future in as_completed(running):
                yield future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
