"""What ComfyUI's own objects make of given inputs, for the engine to compare itself with before the
first step. Small inputs: one 128 x 128 crop, one text, one pass."""

from __future__ import annotations

from typing import Any

import comfy.model_management
import torch

from .caption_ids import prepare_plain
from .native import graph
from .wires import WiredModel, wired_family

SIDE = 128  # pixels; 16 x 16 latents, which every UNet of the family takes
TIMESTEP = 400


def expected_of(
    model: Any, clip: Any, vae: Any, wired: WiredModel, picture: torch.Tensor, text: str
) -> Any:
    """zoodip.graph.Expected of the three wires.

    picture: one of the subject's, uint8 [height, width, 3]; text: without the new word.
    """
    pixels = _crop(picture)
    latent = model.model.process_latent_in(vae.encode(pixels.movedim(1, -1)))
    prepared, states, pooled = text_states(clip, text)
    denoised = _denoise(model, wired, latent.float(), states, pooled)
    return graph().Expected(
        latent=(pixels * 2 - 1, _plain(latent)), text=(prepared, states, pooled), denoised=denoised
    )


def text_states(clip: Any, text: str) -> tuple[Any, torch.Tensor, torch.Tensor | None]:
    """A text as ids, its states [1, tokens, width] by the wired CLIP, and its pooled vector where
    the family's UNet takes one."""
    states, pooled = clip.encode_from_tokens(clip.tokenize(text), return_pooled=True)[:2]
    taken = _plain(pooled) if wired_family(clip).vector_conditioning else None
    return prepare_plain(clip, text), _plain(states), taken


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    """float32 on the CPU, outside of inference mode."""
    with torch.inference_mode(False):
        return tensor.detach().to("cpu", torch.float32, copy=True)


def _crop(pixels: torch.Tensor) -> torch.Tensor:
    """The middle of a picture, float32 [1, 3, SIDE, SIDE] in [0, 1]; a smaller one is repeated."""
    for dimension in (0, 1):
        repeats = -(-SIDE // pixels.shape[dimension])
        pixels = torch.cat([pixels] * repeats, dimension)
        start = (pixels.shape[dimension] - SIDE) // 2
        pixels = pixels.narrow(dimension, start, SIDE)
    return pixels.movedim(-1, 0).unsqueeze(0).float() / 255


def _denoise(
    model: Any,
    wired: WiredModel,
    latent: torch.Tensor,
    context: torch.Tensor,
    pooled: torch.Tensor | None,
) -> tuple[Any, ...]:
    """z_t of a fixed noise, its timestep, the context, the MODEL's x0, and the vector beside the
    context or None."""
    noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(0))
    sampling = model.get_model_object("model_sampling")
    sigma = sampling.sigmas[TIMESTEP].reshape(1).cpu()
    noisy = latent.cpu() + sigma * noise  # the host's scale: x = z + sigma eps
    comfy.model_management.load_models_gpu([model])
    device = model.load_device
    y, more = None, {}
    if pooled is not None:
        sizes = {"width": SIDE, "height": SIDE, "target_width": SIDE, "target_height": SIDE}
        y = model.model.encode_adm(pooled_output=pooled.to(device), device=device, **sizes)
        more["y"] = y.to(device)
    x0 = model.model.apply_model(
        noisy.to(device),
        sigma.to(device),
        c_crossattn=context.to(device),
        **more,
        transformer_options=model.model_options.get("transformer_options", {}).copy(),
    )
    # The engine's scale: z_t = sqrt(a) z + sqrt(1 - a) eps, a = 1 / (sigma^2 + 1).
    z_t = noisy * wired.alphas_cumprod[TIMESTEP] ** 0.5
    return _plain(z_t), TIMESTEP, context, _plain(x0), None if y is None else _plain(y)
