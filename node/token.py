"""A learned word: its vectors, and reading and writing the files that hold them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch

from .files import write_atomically
from .token_keys import FoundKeys, find_keys

# The width of the CLIP text encoders of which only one is in use at that width. Other files than
# ours often do not say which encoder their vectors are for.
_ENCODER_OF_WIDTH = {1024: "clip_h", 1280: "clip_g"}

# What the text encoder reads at once, and so the most vectors that a word can have.
MAX_VECTORS = 75

# Far above that of any text encoder.
_MAX_WIDTH = 65536

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)

# Pickled files are loaded whole; a token takes a few kilobytes.
_MAX_PICKLE_BYTES = 64 * 2**20

_ALLOWED = re.compile(r"[A-Za-z0-9_.-]+")
_NAMES = "use letters, digits, '_', '.' or '-', and not a number; for example sks"
_PICKLES = (".pt", ".pti", ".bin", ".ckpt", ".pth", ".pkl")


class TokenError(ValueError):
    """A word or a token file that cannot be used; one sentence says why and what to do."""


@dataclass(frozen=True, eq=False)
class Token:
    """A word and what stands for it in each text encoder.

    Raises TokenError when the word or a tensor is not as described.
    """

    word: str
    """How prompts name it; see `check_word`."""
    vectors: dict[str, torch.Tensor]
    """Encoder ("clip_l", "clip_g", "clip_h") -> float32 [vectors, width], finite, on the CPU."""
    metadata: dict[str, str]
    """As in the file: "word", "step", "zoodip" (JSON), "format"."""
    others: tuple[str, ...] = ()
    """What the file holds beside the word and is not used, for people."""

    def __post_init__(self) -> None:
        check_word(self.word)
        if not self.vectors:
            raise TokenError(f"the token '{self.word}' has no vectors; it needs those of clip_l")
        for encoder, tensor in self.vectors.items():
            if tensor.dtype != torch.float32 or tensor.device.type != "cpu":
                raise TokenError(
                    f"the token '{self.word}' needs float32 vectors on the CPU, got {tensor.dtype} "
                    f"on {tensor.device} for {encoder}"
                )
            _check_shape(tensor, f"the token '{self.word}'", encoder)
            _check_finite(tensor, f"the token '{self.word}'", encoder)


def check_word(word: str) -> None:
    """Raises TokenError unless `word` can name a token in prompts and in file names."""
    if not _ALLOWED.fullmatch(word) or _is_number(word):
        raise TokenError(f"the word '{word}' cannot name the new token: {_NAMES}")


def check_file_name(name: str) -> None:
    """Raises TokenError unless `name` (no ending) can be that of an embedding file in a prompt; "/"
    stands between it and its subfolders."""
    parts = name.split("/")
    good = all(_ALLOWED.fullmatch(part) and part.strip(".") for part in parts)
    if not good or (len(parts) == 1 and _is_number(name)):
        raise TokenError(f"'{name}' cannot be the name of an embedding: {_NAMES}")


def _is_number(word: str) -> bool:
    """Also what Python reads as a number ("1e5", "nan"), which the host takes for a weight."""
    with suppress(ValueError):
        float(word)
        return True
    return not word.strip("0123456789.-")


def same_token(one: Token, other: Token) -> bool:
    """Whether both hold the same word, vectors to the bit, and metadata."""
    return (
        one.word == other.word
        and one.metadata == other.metadata
        and one.vectors.keys() == other.vectors.keys()
        and all(torch.equal(one.vectors[key], other.vectors[key]) for key in one.vectors)
    )


@torch.inference_mode(False)
def read_token(path: str | os.PathLike[str], word: str = "") -> Token:
    """Reads an embedding file: ours, or a Textual Inversion of other tools.

    Args:
        path: `.safetensors`, with what `token_keys.find_keys` knows; a pickle with
            `string_to_param` (A1111) or those same names, of which torch loads plain tensors alone.
        word: what to call it, and which of several words inside a LoRA; empty for the word in the
            metadata, else what the tensors' names say, else the file's name.

    Raises:
        TokenError: when the file is missing, damaged, or no token.
    """
    path = Path(path)
    if not path.is_file():
        raise TokenError(f"{path}: there is no such token file; choose another or save it again")
    read = _read_pickle if path.suffix.lower() in _PICKLES else _read_safetensors
    found, tensors, metadata = read(path, word)
    vectors = {key: _checked(tensor, path, found.vectors[key]) for key, tensor in tensors.items()}
    if "" in vectors:
        tensor = vectors.pop("")
        vectors[_ENCODER_OF_WIDTH.get(tensor.shape[1], "clip_l")] = tensor
    if not word:
        named = [metadata["word"]] if "word" in metadata else []
        word = _first_word([*named, *found.words, path.stem], path)
    return Token(word, vectors, metadata, found.others)


def as_written(token: Token) -> Token:
    """The token that reading its file gives back: with its word in the metadata."""
    return Token(token.word, token.vectors, {"format": "pt", **token.metadata, "word": token.word})


def write_token(path: str | os.PathLike[str], token: Token) -> None:
    """Writes `token` as `.safetensors`, whole or not at all, replacing an earlier file.

    Its word goes into the metadata. Raises TokenError when the file cannot be written.
    """
    path = Path(path)
    # Copies, for the writer refuses tensors that share memory.
    tensors = {
        key: tensor.detach().clone(memory_format=torch.contiguous_format)
        for key, tensor in token.vectors.items()
    }
    contents = safetensors.torch.save(tensors, as_written(token).metadata)
    try:
        write_atomically(path, contents, mode=0o666)  # others may use the word, too
    except OSError as error:
        raise TokenError(
            f"{path}: cannot be written ({error.strerror or error}); check that the folder exists, "
            "may be written to and has room"
        ) from error


def _first_word(names: list[str], path: Path) -> str:
    for name in names:
        with suppress(TokenError):
            check_word(name)
            return name
    raise TokenError(
        f"{path}: nothing in it can be used as a word in prompts (found '{names[0]}'); give it a "
        "word, for example sks"
    )


# What a file holds: names by encoder, "" where the file does not say; the tensors; metadata.
_Stored = tuple[FoundKeys, dict[str, torch.Tensor], dict[str, str]]


def _read_safetensors(path: Path, word: str) -> _Stored:
    # The parser's errors are of many types; whatever it throws, the file is at fault.
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            found = _find_keys(list(file.keys()), word, path)
            # Copied, for the tensors lie in the mapped file.
            tensors = {key: file.get_tensor(name).clone() for key, name in found.vectors.items()}
            return found, tensors, dict(file.metadata() or {})
    except TokenError:
        raise
    except Exception as error:
        raise TokenError(
            f"{path}: is damaged or no safetensors file ({error}); save or download it again"
        ) from error


def _find_keys(names: list[str], word: str, path: Path) -> FoundKeys:
    try:
        return find_keys(names, word)
    except ValueError as error:
        raise TokenError(f"{path}: {error}") from error


def _read_pickle(path: Path, word: str) -> _Stored:
    size = path.stat().st_size
    if size > _MAX_PICKLE_BYTES:
        raise TokenError(
            f"{path}: has {size / 1e6:.0f} MB, and a token takes a few kilobytes; this looks like "
            "a checkpoint. Choose a file that a Textual Inversion made"
        )
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise TokenError(
            f"{path}: is damaged, or holds more than plain tensors, which is not safe to load; "
            "use its .safetensors version"
        ) from error
    if not isinstance(stored, Mapping):
        raise TokenError(f"{path}: is no token file; it holds a {type(stored).__name__}")
    params = stored.get("string_to_param")
    if isinstance(params, Mapping) and params:
        name = stored.get("name")
        found = FoundKeys({"": "its tensor"}, (name,) if isinstance(name, str) else ())
        return found, {"": _tensor(next(iter(params.values())), path)}, {}
    found = _find_keys([str(key) for key in stored], word, path)
    return found, {key: _tensor(stored.get(name), path) for key, name in found.vectors.items()}, {}


def _tensor(value: object, path: Path) -> torch.Tensor:
    if isinstance(value, torch.Tensor) and value.layout == torch.strided:
        return value.detach()
    raise TokenError(f"{path}: is no token file; a {type(value).__name__} is where vectors belong")


def _checked(stored: torch.Tensor, path: Path, name: str) -> torch.Tensor:
    """float32 [vectors, width] of what a file holds."""
    if stored.dtype not in _FLOATS:
        raise TokenError(
            f"{path}: is no token file; {name} holds {stored.dtype}, expected float16, "
            "bfloat16, float32 or float64"
        )
    vectors = stored.unsqueeze(0) if stored.ndim == 1 else stored
    # Before the copy: a damaged file may claim any size.
    _check_shape(vectors, str(path), name)
    vectors = vectors.to(torch.float32, copy=True).contiguous()
    _check_finite(vectors, str(path), name)
    return vectors


def _check_shape(vectors: torch.Tensor, source: str, name: str) -> None:
    if vectors.ndim != 2 or vectors.numel() == 0 or vectors.shape[1] > _MAX_WIDTH:
        raise TokenError(
            f"{source}: is no token; {name} has shape {list(vectors.shape)}, expected "
            "[vectors, width]"
        )
    if vectors.shape[0] > MAX_VECTORS:
        raise TokenError(
            f"{source}: is no token; {name} has {vectors.shape[0]} vectors, and the text encoder "
            f"reads {MAX_VECTORS} at once"
        )


def _check_finite(vectors: torch.Tensor, source: str, name: str) -> None:
    if not bool(torch.isfinite(vectors).all()):
        raise TokenError(f"{source}: {name} holds NaN or infinity; train the word again")
