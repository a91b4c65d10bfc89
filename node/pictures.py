"""Pictures to learn from: of IMAGE wires, and of folders."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .native import zoodip

# Of pictures, for the list of folders, which is made before the engine is loaded: the engine's own
# (native/io/picture_names.cpp), as a test holds.
ENDINGS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp"),
    *(".avif", ".heic", ".heif", ".hif", ".gif", ".bmp"),
)

# As kohya's trainers have it: a folder called "10_sks dog" inside the one that is named.
_NAMED_FOLDER = re.compile(r"\d{1,3}_.+")

# More would fill the memory: a picture that is drawn more often is there more often.
_MAX_REPEATED = 1000

MIN_SIDE = 8
_MAX_DEPTH = 3

# The package's own pictures: what stands before "/NAME" in the list -> where they are.
_OWN = {"zoodip demo": "demo/subjects", "zoodip photos": "demo/photos"}


class PictureError(ValueError):
    """Pictures that cannot be used; one sentence says why and what to do."""


class NoEngineError(PictureError):
    """The engine, which reads them, cannot be loaded: no fault of theirs."""


@dataclass(frozen=True, eq=False)
class Picture:
    """One picture."""

    pixels: torch.Tensor
    """uint8 [height, width, 3], RGB, contiguous, on the CPU."""
    sha256: str
    """Of the size and the pixels, 64 hex characters."""


@torch.inference_mode(False)
def pictures_from(images: torch.Tensor | Sequence[torch.Tensor]) -> list[Picture]:
    """The pictures of an IMAGE input, in order.

    Values are clamped to [0, 1] and rounded to 8 bits, which gives loaded pictures back without
    loss. A fourth channel is opacity, and is laid over white.

    Args:
        images: one batch [B, H, W, C], or a list of batches of any sizes; C is 3 or 4.

    Raises:
        PictureError: for no pictures, and by number for one with NaN, too few channels or a side
            below 8 pixels.
    """
    batches = [images] if isinstance(images, torch.Tensor) else list(images)
    pictures: list[Picture] = []
    for batch in batches:
        for picture in batch.unsqueeze(0) if batch.ndim == 3 else batch:
            pictures.append(_picture(picture, f"picture {len(pictures) + 1}"))
    if not pictures:
        raise PictureError("there are no pictures; wire at least one, three to six are usual")
    return pictures


def _picture(values: torch.Tensor, name: str) -> Picture:
    if values.ndim != 3 or values.shape[2] not in (3, 4):
        raise PictureError(
            f"{name} has shape {tuple(values.shape)}; it needs (height, width, 3), red, green and "
            "blue. Load it with Load Image"
        )
    height, width, _ = values.shape
    if min(height, width) < MIN_SIDE:
        raise PictureError(f"{name} is {width} x {height}; it needs {MIN_SIDE} pixels a side")
    if values.dtype != torch.uint8:
        values = values.to("cpu", torch.float32)
        if not bool(torch.isfinite(values).all()):
            raise PictureError(f"{name} holds NaN or infinity; check the node that made it")
        values = (values.clamp(0, 1) * 255).round()
    if values.shape[2] == 4:
        opacity = values[..., 3:].float() / 255
        values = (values[..., :3].float() * opacity + 255 * (1 - opacity)).round()
    pixels = values.to("cpu", torch.uint8, copy=True).contiguous()
    digest = hashlib.sha256(f"{width} x {height}\n".encode() + pixels.numpy().tobytes())
    return Picture(pixels, digest.hexdigest())


def list_folders(input_dir: str | os.PathLike[str], package_root: Path) -> list[str]:
    """Names for `resolve_folder`: subfolders of the host's input folder that hold pictures, then
    those of the package. Links are followed: who owns the folder made them.
    """
    root = Path(input_dir)
    found = [path.relative_to(root).as_posix() for path in _walk(root, _MAX_DEPTH)]
    own = [
        f"{prefix}/{path.name}"
        for prefix, place in _OWN.items()
        for path in _walk(package_root / place, 1)
    ]
    return [name for name in found if name.split("/")[0] not in _OWN] + own


def _walk(root: Path, depth: int, above: tuple[str, ...] = ()) -> list[Path]:
    """The folders with pictures below `root`, by name. above: the folders that it lies in, to one
    of which a link may lead back."""
    try:
        entries = sorted(os.scandir(root), key=lambda entry: entry.name)
    except OSError:
        return []
    above = (*above, os.path.realpath(root))
    found = []
    for entry in entries:
        path = root / entry.name
        if entry.name.startswith(".") or not entry.is_dir() or os.path.realpath(path) in above:
            continue
        if _has_picture(path) or _has_named_folder(path):
            found.append(path)
        if depth > 1:
            found += _walk(path, depth - 1, above)
    return found


def _has_picture(folder: Path) -> bool:
    with suppress(OSError), os.scandir(folder) as entries:
        return any(
            entry.name.lower().endswith(ENDINGS) and entry.name[0] != "." and entry.is_file()
            for entry in entries
        )
    return False


def _has_named_folder(folder: Path) -> bool:
    with suppress(OSError):
        named = filter(_NAMED_FOLDER.fullmatch, os.listdir(folder))
        return any(_has_picture(folder / name) for name in named)
    return False


def resolve_folder(name: str, input_dir: str | os.PathLike[str], package_root: Path) -> Path:
    """The folder that a name of `list_folders` stands for.

    A link in there is followed, as it is the owner's; the name itself has no way out, as scripts
    send names. Raises PictureError when it would lead out, or the folder is gone.
    """
    prefix, _, rest = name.partition("/")
    root = package_root / _OWN[prefix] if prefix in _OWN else Path(input_dir)
    relative = rest if prefix in _OWN else name
    parts = relative.replace("\\", "/").split("/")
    # Whether each part stays in the folder that it is looked up in.
    if any(p in ("", ".", "..") or "\0" in p or os.path.splitdrive(p)[0] for p in parts):
        raise PictureError(
            f"the folder '{name}' is not inside the input folder; copy the pictures into a folder "
            "of it"
        )
    path = root.joinpath(*parts)
    if not path.is_dir():
        raise PictureError(
            f"the folder '{name}' is gone from the input folder; choose another, or put it back"
        )
    return path


def read_folder(folder: Path) -> Any:
    """What the engine finds in a folder: zoodip.PictureFolder.

    Raises PictureError when there are no pictures, and by name for a caption that cannot be read;
    NoEngineError where the engine was not built.
    """
    if not folder.is_dir():
        raise PictureError(f"the folder '{folder.name}' is gone; choose another, or put it back")
    engine = zoodip()
    try:
        return engine.read_folder(folder)
    except engine.NativeModuleError as error:
        raise NoEngineError(str(error)) from error
    except engine.Error as error:
        said = str(error).removeprefix("images: ")
        raise PictureError(said.replace(str(folder), f"the folder '{folder.name}'")) from error


def folder_fingerprint(folder: Path) -> str:
    """Changes when a picture or a caption of the folder does: names, sizes and times."""
    digest = hashlib.sha256()
    for file in read_folder(folder).files:
        stat = file.stat()
        name = file.relative_to(folder).as_posix()
        digest.update(
            f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode(errors="surrogateescape")
        )
    return digest.hexdigest()


@torch.inference_mode(False)
def load_pictures(read: Any, size: int, caption: str) -> tuple[torch.Tensor, list[str]]:
    """The pictures of a folder as squares.

    The engine reads each (its largest centred square, resampled with an antialiased bicubic), so
    that pictures taken through the graph are those of a training from the command line.

    Args:
        read: what `read_folder` gave.
        size: pixels a side.
        caption: of a picture that has none.

    Returns:
        float32 [B, size, size, 3] in [0, 1] and the captions; a picture that is drawn twice as
        often as others is there twice.

    Raises:
        PictureError: by name for a picture that cannot be read.
    """
    count = sum(picture.repeats for picture in read.pictures)
    if count > max(_MAX_REPEATED, len(read.pictures)):
        raise PictureError(
            f"the numbers before the folders' names make {count} pictures of {len(read.pictures)}; "
            f"at most {_MAX_REPEATED} go through a graph. Use smaller numbers in the same ratio"
        )
    images = torch.empty(count, size, size, 3)
    captions: list[str] = []
    engine = zoodip()
    for picture in read.pictures:
        try:
            pixels = engine._native.load_training_picture(picture.file, picture.name, size)
        except engine.Error as error:
            raise PictureError(str(error)) from error
        square = torch.frombuffer(bytearray(pixels), dtype=torch.uint8).reshape(size, size, 3)
        images[len(captions) : len(captions) + picture.repeats] = square.float() / 255
        captions += [picture.caption or caption] * picture.repeats
    return images, captions
