"""Saving tokens into a folder of embeddings."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from itertools import chain, count
from pathlib import Path

from .files import partial_name
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

_ENDING = ".safetensors"
_TIMES = {"year": "%Y", "month": "%m", "day": "%d", "hour": "%H", "minute": "%M", "second": "%S"}
_NUMBERS = "_99999"  # room for what `number` adds
_LONGEST_NAME = 255  # bytes, where the file system does not say


def save_token(folder: Path, token: Token, name: str, if_exists: str) -> str:
    """Writes `folder/name.safetensors` and returns the name without the ending.

    Args:
        folder: made when it is missing.
        name: empty for the token's word. "/" puts the file into subfolders, which are made;
            %word%, %step%, %year%, %month%, %day%, %hour%, %minute% and %second% are filled in.
        if_exists: "replace", or "number": another file of that name is kept, and this one gets
            _2, _3 and so on; unless one of those holds the same token already.

    Raises:
        TokenError: for a bad name, before anything is written, and when the file cannot be written.
    """
    name = _filled_in(name.strip() or token.word, token).removesuffix(_ENDING)
    name = name.replace("\\", "/")
    check_file_name(name)
    parts = name.split("/")
    _check_lengths(folder, parts)
    folder_of_file = folder.joinpath(*parts[:-1])
    try:
        folder_of_file.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TokenError(
            f"{folder_of_file}: the embeddings folder cannot be made ({error.strerror or error})"
        ) from error
    last = parts[-1]
    if if_exists == NUMBER:
        names = chain([last], (f"{last}_{number}" for number in count(2)))
        last = next(each for each in names if _is_free(folder_of_file, each, token))
    path = folder_of_file / f"{last}{_ENDING}"
    if if_exists == REPLACE or not path.exists():
        write_token(path, token)
    return "/".join([*parts[:-1], last])


def _filled_in(name: str, token: Token) -> str:
    """The name with what stands between percent signs, as in those of ComfyUI's Save Image."""
    now = time.localtime()
    values = {"word": token.word, "step": token.metadata.get("step", "0")}
    values |= {key: time.strftime(form, now) for key, form in _TIMES.items()}
    for key, value in values.items():
        name = name.replace(f"%{key}%", value)
    if "%" in name:
        known = ", ".join(f"%{key}%" for key in values)
        raise TokenError(f"'{name}' has a % that stands for nothing; these are filled in: {known}")
    return name


def _check_lengths(folder: Path, parts: list[str]) -> None:
    """Raises TokenError for a name that the file system would not take, however it is written."""
    there = folder
    while not there.is_dir() and there != there.parent:
        there = there.parent
    longest = _limit(there, "PC_NAME_MAX", _LONGEST_NAME)
    added = len(partial_name(_ENDING).encode()) + len(_NUMBERS)
    for part, room in [*((part, longest) for part in parts[:-1]), (parts[-1], longest - added)]:
        if len(part) > room:
            raise TokenError(
                f"the name '{part[:40]}...' is too long: it has {len(part)} characters, and there "
                f"is room for {room} in {there}; give the file a shorter name"
            )
    whole = len(os.fsencode(folder.joinpath(*parts))) + added
    most = _limit(there, "PC_PATH_MAX", 259 if os.name == "nt" else 4096)
    if whole >= most:
        raise TokenError(
            f"the name '{parts[0][:40]}...' is too long: with its folders it would take {whole} "
            f"bytes, and {there} has room for {most - 1}; give the file a shorter name"
        )


def _limit(folder: Path, kind: str, otherwise: int) -> int:
    with suppress(OSError, ValueError, AttributeError):
        return os.pathconf(folder, kind)
    return otherwise


def _is_free(folder: Path, name: str, token: Token) -> bool:
    """Whether the name is not taken, or by the same token. A prompt finds all endings by a name."""
    path = folder / f"{name}{_ENDING}"
    if not path.exists():
        return not any((folder / (name + ending)).exists() for ending in (".pt", ".bin"))
    try:
        return same_token(read_token(path), as_written(token))
    except TokenError:
        return False
