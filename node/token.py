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

from .store_files import write_atomically

# The width of the CLIP text encoders of which only one is in use at that width. Other files than
# ours often do not say which encoder their vectors are for.
_ENCODER_OF_WIDTH = {1024: "clip_h", 1280: "clip_g"}
_ENCODERS = ("clip_l", "clip_g", "clip_h")

# What the text encoder reads at once, and so the most vectors that a word can have.
MAX_VECTORS = 75

# Far above that of any text encoder.
_MAX_WIDTH = 65536

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)

# What the names of tensors in other files hold.
_LORA = ("lora_up.", "lora_down.", "lora.up.", "lora.down.", ".lora_A.", ".lora_B.")
_LORA += ("hada_w1", "lokr_w1")
_CHECKPOINT = ("model.diffusion_model.", "cond_stage_model.", "first_stage_model.")
_PART = ("text_model.", "down_blocks.", "decoder.")

# Pickled files are loaded whole; a token takes a few kilobytes.
_MAX_PICKLE_BYTES = 64 * 2**20

_ALLOWED = re.compile(r"[A-Za-z0-9_.-]+")
_PICKLES = (".pt", ".bin", ".ckpt", ".pth", ".pkl")


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
    if _ALLOWED.fullmatch(word) and not _is_number(word):
        return
    raise TokenError(
        f"the word '{word}' cannot name the new token: use letters, digits, '_', '.' or '-', and "
        "not a number; for example sks"
    )


def check_file_name(name: str) -> None:
    """Raises TokenError unless `name` (no ending) can be that of an embedding file in a prompt; "/"
    stands between it and its subfolders."""
    parts = name.split("/")
    good = all(_ALLOWED.fullmatch(part) and part.strip(".") for part in parts)
    if good and (len(parts) > 1 or not _is_number(name)):
        return
    raise TokenError(
        f"'{name}' cannot be the name of an embedding: use letters, digits, '_', '.' or '-', and "
        "not a number; for example sks"
    )


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
        path: `.safetensors` with `clip_l`, `clip_g`, `clip_h`, `emb_params` or a single tensor;
            a pickle with `string_to_param` (A1111) or one `word: vectors` (diffusers), of which
            torch loads plain tensors alone.
        word: what to call it; empty for the word in the metadata, else the single tensor's name,
            as diffusers has it, else the file's name.

    Raises:
        TokenError: when the file is missing, damaged, or no token.
    """
    path = Path(path)
    if not path.is_file():
        raise TokenError(f"{path}: there is no such token file; choose another or save it again")
    if path.suffix.lower() in _PICKLES:
        tensors, metadata, names = _read_pickle(path)
    else:
        tensors, metadata, names = _read_safetensors(path)
    vectors = {key: _checked(tensor, path, key) for key, tensor in tensors.items()}
    if "" in vectors:
        tensor = vectors.pop("")
        vectors[_ENCODER_OF_WIDTH.get(tensor.shape[1], "clip_l")] = tensor
    if word:
        check_word(word)
    else:
        word = _first_word([*names, path.stem], path)
    return Token(word, vectors, metadata)


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


def _read_safetensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str], list[str]]:
    """The tensors by encoder ("" where the file does not say), metadata, and names for the word."""
    # The parser's errors are of many types; whatever it throws, the file is at fault.
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            keys = list(file.keys())
            wanted = _wanted(keys, path)
            # Copied, for the tensors lie in the mapped file.
            tensors = {name: file.get_tensor(key).clone() for key, name in wanted.items()}
    except TokenError:
        raise
    except Exception as error:
        raise TokenError(
            f"{path}: is damaged or no safetensors file ({error}); save or download it again"
        ) from error
    names = [metadata["word"]] if "word" in metadata else []
    return tensors, metadata, names + _named_by_key(wanted)


def _wanted(keys: list[str], path: Path) -> dict[str, str]:
    """Which tensors hold the vectors: key in the file -> encoder. Raises TokenError for none."""
    known = {key: key for key in _ENCODERS if key in keys}
    if known:
        return known
    if "emb_params" in keys:
        return {"emb_params": ""}
    what = _other_file(keys)
    if what is None and len(keys) == 1:
        return {keys[0]: ""}
    raise TokenError(
        f"{path}: is {what or 'no token file'}; a token file holds clip_l or emb_params, and this "
        f"one has {_counted(keys)}. Choose a file that a Textual Inversion made"
    )


def _counted(keys: list[str]) -> str:
    if not keys:
        return "no tensors"
    if len(keys) == 1:
        return f"one tensor, {keys[0]}"
    return f"{len(keys)} tensors, the first {min(keys)}"


def _other_file(keys: list[str]) -> str | None:
    """What else than a token a file with these tensors is.

    Words may look like parts of names, so that a single tensor has to say more.
    """
    text = "\n".join(keys)
    if any(sign in text for sign in _LORA):
        return "a LoRA, not a token"
    if any(sign in text for sign in _CHECKPOINT):
        return "a checkpoint, not a token"
    if len(keys) < 2:
        return None
    if any(sign in text for sign in _PART):
        return "a part of a model, not a token"
    if {"theta", "m", "v"} <= set(keys):
        return "the state of a stopped training, not its token"
    return None


def _named_by_key(wanted: Mapping[str, str]) -> list[str]:
    """The name of the only tensor, which diffusers takes for the word: "<cat-toy>" -> "cat-toy"."""
    return [
        key[1:-1] if len(key) > 2 and key.startswith("<") and key.endswith(">") else key
        for key, encoder in wanted.items()
        if not encoder and key != "emb_params"
    ]


def _read_pickle(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str], list[str]]:
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
        names = [name] if isinstance(name, str) else []
        return {"": _tensor(next(iter(params.values())), path)}, {}, names
    keys = [str(key) for key in stored]
    wanted = _wanted(keys, path)
    tensors = {name: _tensor(stored.get(key), path) for key, name in wanted.items()}
    return tensors, {}, _named_by_key(wanted)


def _tensor(value: object, path: Path) -> torch.Tensor:
    if isinstance(value, torch.Tensor) and value.layout == torch.strided:
        return value.detach()
    raise TokenError(f"{path}: is no token file; a {type(value).__name__} is where vectors belong")


def _checked(stored: torch.Tensor, path: Path, key: str) -> torch.Tensor:
    """float32 [vectors, width] of what a file holds."""
    name = key or "its tensor"
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
