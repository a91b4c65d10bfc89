"""Token files: what one is, and turning one into another program's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ._api import StrPath
from ._loader import load_native


def token_info(path: StrPath) -> Mapping[str, Any]:
    """What a token file is and how it was made, whichever program wrote it.

    Returns:
        `word`, `format` ("comfyui", "a1111" or "diffusers"), `encoders` (a list of `name`,
        `vectors`, `width`, `stored`, `norms`), `others` (further tensors), `step`, `metadata` (what
        other programs wrote), and `zoodip`: None for a file of another program, else `version`,
        `family`, `initialiser`, `learned_with` (other words in the same captions), `model`
        (SHA-256 of the weights), `seed`, `settings`, `changed` (those that differ from the
        defaults), `pictures` (a list of `name`, `sha256`, `caption`), `folder` (what was read and
        left out, in one line) and `more`. None stands for what is not known.

    Raises:
        Error: when the file is no token, naming what it is.
    """
    info: Mapping[str, Any] = json.loads(load_native().token_info(Path(path)))
    return info


def token_convert(
    src: StrPath, dst: StrPath, *, to: str, word: str | None = None, overwrite: bool = False
) -> None:
    """Writes a token file as another program reads it; numbers and metadata stay as they are.

    Args:
        src: a token file of any of these programs, `.safetensors`.
        dst: the file to write, `.safetensors`. ComfyUI and A1111 name the word after the file.
        to: "comfyui" (clip_l, clip_g, clip_h; what `zoodip.train` writes), "a1111" (emb_params) or
            "diffusers" (one tensor called as the word). Two encoders (SDXL) are clip_l and clip_g
            in all of them.
        word: what to call it; None for what the file calls itself.
        overwrite: replace an earlier `dst`, which may be `src`.

    Raises:
        Error: when `src` is no token, the layout cannot hold it, or `dst` is there or cannot be
            written.
    """
    load_native().token_convert(
        source=Path(src), out=Path(dst), to=to, word=word or "", overwrite=overwrite
    )
