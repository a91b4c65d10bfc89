"""What training asks of ComfyUI: memory, interruption, progress and previews."""

from __future__ import annotations

import io as bytes_io
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import comfy.lora
import comfy.model_management
import comfy.utils
import folder_paths
import latent_preview
import torch
from comfy.cli_args import LatentPreviewMethod, args
from PIL import Image
from server import PromptServer

from .live import LiveRuns
from .store import Store

log = logging.getLogger("zoodip")

merge = comfy.lora.calculate_weight

RUNS = LiveRuns()

_POLL_SECONDS = 0.05


def store() -> Store:
    """The trainings kept in this ComfyUI's user folder."""
    return Store(Path(folder_paths.get_user_directory()) / "zoodip")


def send(event: str, payload: dict[str, Any]) -> None:
    """To every open page; returns at once."""
    PromptServer.instance.send_sync(event, payload)


def device_name() -> str:
    """The engine's name of the device that ComfyUI computes on; "cpu" for those it cannot use.

    Torch calls AMD's cards "cuda" too, but its build for them has no CUDA.
    """
    kind = comfy.model_management.get_torch_device().type
    return "cuda" if kind == "cuda" and torch.version.cuda else "cpu"


def free_memory(needed: int) -> None:
    """Makes ComfyUI unload models until `needed` bytes are free on its device."""
    comfy.model_management.free_memory(needed, comfy.model_management.get_torch_device())


def memory_given_back() -> None:
    """Tells ComfyUI that the engine has let go of its memory."""
    comfy.model_management.soft_empty_cache()


def raise_if_interrupted() -> None:
    comfy.model_management.throw_exception_if_processing_interrupted()


def interruption() -> Exception:
    """What ends a prompt without an error."""
    return comfy.model_management.InterruptProcessingException()


@contextmanager
def watch_interruption(cancel: Callable[[], object]) -> Iterator[None]:
    """Calls `cancel` soon after the user interrupts the prompt, while the block runs."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(_POLL_SECONDS):
            if comfy.model_management.processing_interrupted():
                cancel()
                return

    thread = threading.Thread(target=watch, name="zoodip-interrupt", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def progress_bar(steps: int, node: str) -> Callable[[int], None]:
    """Moves the bar on the node. What it calls raises when the prompt is interrupted."""
    return comfy.utils.ProgressBar(steps, node_id=node).update_absolute


class Previews:
    """Latents -> JPEG as ComfyUI's own previews: TAESD where it was chosen and is there, else the
    latent's nearest colours. A model's own format goes before."""

    def __init__(self, latent_format: Any, decode: Callable[[torch.Tensor], torch.Tensor] | None):
        """decode: latents -> pixels [B, H, W, 3] in [0, 1] of a decoder that costs next to nothing;
        None for ComfyUI's."""
        self._decode = decode
        self._previewer = None
        self._format = latent_format

    def jpeg(self, latents: torch.Tensor) -> bytes | None:
        """latents: in the UNet's scale [1, 4, h, w]. None where nothing can draw them."""
        image = self._image(latents)
        if image is None:
            return None
        buffer = bytes_io.BytesIO()
        image.save(buffer, "JPEG", quality=90)
        return buffer.getvalue()

    def _image(self, latents: torch.Tensor) -> Image.Image | None:
        if self._decode is not None:
            pixels = self._decode(self._format.process_out(latents))[0]
            return Image.fromarray((pixels.clamp(0, 1) * 255).round().byte().cpu().numpy())
        if self._previewer is None:
            self._previewer = _host_previewer(latents.device, self._format)
        if self._previewer is None:
            return None
        image = self._previewer.decode_latent_to_preview(latents)
        side = max(256, image.width)
        return image.resize((side, side * image.height // image.width), Image.Resampling.BICUBIC)


def _host_previewer(device: torch.device, latent_format: Any) -> Any:
    """ComfyUI's previewer. Where previews are switched off for sampling, the cheap one: whether the
    page shows a training is this package's own setting."""
    previewer = latent_preview.get_previewer(device, latent_format)
    if previewer is None and args.preview_method == LatentPreviewMethod.NoPreviews:
        factors = latent_format.latent_rgb_factors
        if factors is not None:
            bias = getattr(latent_format, "latent_rgb_factors_bias", None)
            previewer = latent_preview.Latent2RGBPreviewer(factors, bias)
    return previewer
