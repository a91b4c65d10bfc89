"""Saving tokens into a folder of embeddings."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

from .token import (
    Token,
    TokenError,
    as_written,
    check_file_name,
    read_token,
    same_token,
    write_token,
)

NUMBER, REPLACE = "number", "replace"
IF_EXISTS = (NUMBER, REPLACE)


def save_token(folder: Path, token: Token, name: str, if_exists: str) -> str:
    """Writes `folder/name.safetensors` and returns the name without the ending.

    Args:
        folder: made when it is missing.
        name: empty for the token's word.
        if_exists: "replace", or "number": another file of that name is kept, and this one gets
            _2, _3 and so on; unless one of those holds the same token already.

    Raises:
        TokenError: for a bad name, and when the file cannot be written.
    """
    name = (name.strip() or token.word).removesuffix(".safetensors")
    check_file_name(name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TokenError(
            f"{folder}: the embeddings folder cannot be made ({error.strerror or error})"
        ) from error
    if if_exists == NUMBER:
        name = next(each for each in _numbered(name) if _is_free(folder, each, token))
    path = folder / f"{name}.safetensors"
    if if_exists == REPLACE or not path.exists():
        write_token(path, token)
    return name


def _numbered(name: str) -> Iterator[str]:
    yield name
    for number in count(2):
        yield f"{name}_{number}"


def _is_free(folder: Path, name: str, token: Token) -> bool:
    """Whether the name is not taken, or by the same token. A prompt finds all endings by a name."""
    path = folder / f"{name}.safetensors"
    if not path.exists():
        return not any((folder / (name + ending)).exists() for ending in (".pt", ".bin"))
    try:
        return same_token(read_token(path), as_written(token))
    except TokenError:
        return False
