"""A checkpoint file without ComfyUI's copy of it."""

from __future__ import annotations

import hashlib
import os
from typing import Any

import comfy.sd1_clip
import comfy.sdxl_clip
import comfy.text_encoders.sd2_clip

from .native import graph

_HEADER_BYTES = 1 << 20
_WINDOWS = 257
_WINDOW_BYTES = 4096


def file_digest(path: str) -> str:
    """64 hexadecimal digits of the size, the start (with the names of all tensors) and evenly
    spread parts of a file: a fine-tune changes nearly all of it, and reading all takes minutes."""
    size = os.path.getsize(path)
    hashed = hashlib.sha256(str(size).encode())
    with open(path, "rb") as file:
        hashed.update(file.read(_HEADER_BYTES))
        for i in range(_WINDOWS):
            file.seek(max(0, size - _WINDOW_BYTES) * i // (_WINDOWS - 1))
            hashed.update(file.read(_WINDOW_BYTES))
    return hashed.hexdigest()


# By the text encoders that read their tokens.
_TOKENIZERS = {
    ("clip_l",): comfy.sd1_clip.SD1Tokenizer,
    ("clip_h",): comfy.text_encoders.sd2_clip.SD2Tokenizer,
    ("clip_l", "clip_g"): comfy.sdxl_clip.SDXLTokenizer,
}


class TokenizerOnly:
    """ComfyUI's tokenizer in the place of a CLIP, for token ids."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    @classmethod
    def of_checkpoint(cls, path: str, embedding_directory: Any) -> TokenizerOnly:
        """That of the model in a file. Raises zoodip.Error for what cannot be trained."""
        encoders = graph().text_encoders_of(path)
        return cls(_TOKENIZERS[encoders](embedding_directory=embedding_directory))

    def clone(self) -> TokenizerOnly:
        return TokenizerOnly(self.tokenizer)

    def tokenize(self, text: str, return_word_ids: bool = False) -> Any:
        return self.tokenizer.tokenize_with_weights(text, return_word_ids)
