"""The noise schedule of Stable Diffusion 1.x."""

from __future__ import annotations

import torch

# As diffusers' schedulers take it.
SCHEDULE = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "epsilon",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}


def betas() -> torch.Tensor:
    """float64 [1000]."""
    start, end = SCHEDULE["beta_start"] ** 0.5, SCHEDULE["beta_end"] ** 0.5
    return torch.linspace(start, end, SCHEDULE["num_train_timesteps"], dtype=torch.float64) ** 2


def alphas_cumprod() -> torch.Tensor:
    """float64 [1000]."""
    return (1 - betas()).cumprod(0)
