"""The noise schedules of the demo models, which are those of their families."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

STEPS = 1000
BETA_START, BETA_END = 0.00085, 0.012


@dataclass(frozen=True)
class Schedule:
    """Square roots of betas on a line, as Stable Diffusion 1.x has them.

    predicts_v: the UNet tells v = sqrt(a) eps - sqrt(1 - a) z rather than eps (Salimans and Ho
    2022); zero_snr: moved so that nothing of the picture is left at the last step (Lin et al.
    2024)."""

    predicts_v: bool = False
    zero_snr: bool = False

    def alphas_cumprod(self) -> Tensor:
        """float64 [1000]."""
        product = (1 - betas()).cumprod(0)
        if not self.zero_snr:
            return product
        root = product.sqrt()
        root = (root - root[-1]) * root[0] / (root[0] - root[-1])
        return root.square()

    def target(self, z: Tensor, eps: Tensor, alpha: Tensor) -> Tensor:
        """What the UNet should tell; alpha: the products at its timesteps, of a shape that
        spreads over z."""
        return alpha.sqrt() * eps - (1 - alpha).sqrt() * z if self.predicts_v else eps

    def in_diffusers(self) -> dict[str, object]:
        """As diffusers' schedulers take it."""
        return SCHEDULE | {
            "prediction_type": "v_prediction" if self.predicts_v else "epsilon",
            "rescale_betas_zero_snr": self.zero_snr,
            "timestep_spacing": "trailing" if self.zero_snr else "leading",
        }


# Of Stable Diffusion 1.x, as diffusers' schedulers take it.
SCHEDULE = {
    "num_train_timesteps": STEPS,
    "beta_start": BETA_START,
    "beta_end": BETA_END,
    "beta_schedule": "scaled_linear",
    "prediction_type": "epsilon",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}


def betas() -> Tensor:
    """float64 [1000]."""
    return torch.linspace(BETA_START**0.5, BETA_END**0.5, STEPS, dtype=torch.float64) ** 2
