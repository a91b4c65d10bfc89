"""What training asks of ComfyUI: memory, interruption, progress and previews."""

from __future__ import annotations

import io as bytes_io
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.taesd.taesd
import comfy.utils
import folder_paths
import latent_preview
import torch
from PIL import Image
from server import PromptServer

from ..demo import model_file
from .jobs import Jobs

log = logging.getLogger("zoodip")


def settle(patcher: Any) -> None:
    """Loads a model, for which ComfyUI takes out what other wires of it have put in."""
    comfy.model_management.load_models_gpu([patcher])


_POLL_SECONDS = 0.05


@cache
def jobs() -> Jobs:
    """The jobs kept in this ComfyUI's user folder; every open page is told of them."""
    folder = Path(folder_paths.get_user_directory()) / "zoodip"
    return Jobs(folder, _job_options, lambda *event: PromptServer.instance.send_sync(*event))


def _job_options() -> dict[str, Any]:
    folders = [*folder_paths.get_folder_paths("checkpoints"), model_file.FOLDER]
    return {
        "models": [folder for folder in folders if Path(folder).is_dir()],
        "images": [folder_paths.get_input_directory()],
        "defaults": {"device": device_name()},
    }


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


def progress_bar(steps: int, node: str) -> Callable[..., None]:
    """Moves the bar on the node to a step, and shows a JPEG where one is given, both as a sampler
    does: to pages, apps and scripts. What it calls raises when the prompt is interrupted."""
    bar = comfy.utils.ProgressBar(steps, node_id=node)

    def move(step: int, jpeg: bytes | None = None) -> None:
        preview = None
        if jpeg is not None:
            image = Image.open(bytes_io.BytesIO(jpeg))
            image.load()
            # What ComfyUI sends on as a binary message: format, picture, pixels a side at most.
            preview = ("JPEG", image, latent_preview.MAX_PREVIEW_RESOLUTION)
        bar.update_absolute(step, preview=preview)

    return move


class Previews:
    """Latents -> JPEG: by a tiny decoder that is wired in, else by TAESD where ComfyUI has its
    file, else the nearest colours of each latent pixel."""

    def __init__(
        self, latent_format: Any, decode: Callable[[torch.Tensor], torch.Tensor] | None = None
    ) -> None:
        """latent_format: ComfyUI's. decode: latents as a VAE takes them -> pixels [B, H, W, 3] in
        [0, 1]; of a decoder that costs next to nothing."""
        self._format, self._decode = latent_format, decode
        self._draw: Callable[[torch.Tensor], Image.Image | None] | None = None

    def jpeg(self, latents: torch.Tensor) -> bytes | None:
        """latents: in the UNet's scale [1, 4, h, w]. None where nothing can draw them."""
        try:
            self._draw = self._draw or self._choose(latents.device)
            image = self._draw(latents)
        except Exception as error:  # a picture that cannot be drawn must not end a training
            log.warning("ZOODiP: no previews, drawing one failed: %s", error)
            self._draw = lambda latents: None
            return None
        if image is None:
            return None
        buffer = bytes_io.BytesIO()
        image.save(buffer, "JPEG", quality=90)
        return buffer.getvalue()

    def _choose(self, device: torch.device) -> Callable[[torch.Tensor], Image.Image | None]:
        if self._decode is not None:
            return self._draw_wired
        file = _taesd_file(self._format.taesd_decoder_name)
        if file is not None:
            channels = self._format.latent_channels
            taesd = comfy.taesd.taesd.TAESD(None, file, latent_channels=channels).to(device)
            return latent_preview.TAESDPreviewerImpl(taesd).decode_latent_to_preview
        if self._format.latent_rgb_factors is None:
            return lambda latents: None
        colours = latent_preview.Latent2RGBPreviewer(
            self._format.latent_rgb_factors, self._format.latent_rgb_factors_bias
        )

        def draw(latents: torch.Tensor) -> Image.Image:
            image = colours.decode_latent_to_preview(latents)
            # A pixel for each latent is too small to see.
            return image.resize((image.width * 4, image.height * 4), Image.Resampling.BICUBIC)

        return draw

    def _draw_wired(self, latents: torch.Tensor) -> Image.Image:
        pixels = self._decode(self._format.process_out(latents))[0]
        return Image.fromarray((pixels.clamp(0, 1) * 255).round().byte().cpu().numpy())


def _taesd_file(name: str | None) -> str | None:
    """The decoder's file in ComfyUI's models/vae_approx."""
    for file in folder_paths.get_filename_list("vae_approx"):
        if name is not None and file.startswith(name):
            return folder_paths.get_full_path("vae_approx", file)
    return None
