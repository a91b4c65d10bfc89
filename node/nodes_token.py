"""Nodes for learned words: apply, save, load, describe."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import folder_paths
from comfy_api.latest import io

from .schema import schema
from .token import Token, TokenError, check_word, read_token
from .token_clip import apply_token
from .token_folder import IF_EXISTS, save_token
from .token_info import describe_token

log = logging.getLogger("zoodip")

_EMBEDDINGS = "embeddings"
ZoToken = io.Custom("ZO_TOKEN")


class ApplyTokenZO(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "ApplyTokenZO",
            [io.Clip.Input("clip"), ZoToken.Input("token")],
            [io.Clip.Output("clip_out")],
        )

    @classmethod
    def execute(cls, clip: Any, token: Token) -> io.NodeOutput:
        return io.NodeOutput(apply_token(clip, token))


class SaveTokenZO(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "SaveTokenZO",
            [
                ZoToken.Input("token"),
                io.String.Input("name", default=""),
                io.Combo.Input("if_exists", options=list(IF_EXISTS), default=IF_EXISTS[0]),
            ],
            [io.String.Output("name_out")],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, token: Token, name: str, if_exists: str) -> io.NodeOutput:
        folder = Path(folder_paths.get_folder_paths(_EMBEDDINGS)[0])
        name = f"embedding:{save_token(folder, token, name, if_exists)}"
        # The host lists a folder anew when its time changes, which coarse clocks may not show.
        folder_paths.filename_list_cache.pop(_EMBEDDINGS, None)
        return io.NodeOutput(name, ui={"zoodip_text": [name]})


class LoadTokenZO(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "LoadTokenZO",
            [
                io.Combo.Input("name", options=folder_paths.get_filename_list(_EMBEDDINGS)),
                io.String.Input("word", default=""),
            ],
            [ZoToken.Output("token")],
        )

    @classmethod
    def validate_inputs(cls, name: str | None, word: str | None) -> bool | str:
        """None: the value comes from another node, and is looked at when it is known."""
        try:
            if name is not None:
                _embedding_path(name)
            if word:
                check_word(word)
        except TokenError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, name: str, word: str) -> str:
        try:
            stat = _embedding_path(name).stat()
        except (TokenError, OSError) as error:
            return str(error)  # execute tells it
        return f"{stat.st_size} {stat.st_mtime_ns}"

    @classmethod
    def execute(cls, name: str, word: str) -> io.NodeOutput:
        token = read_token(_embedding_path(name), word.strip())
        if token.others:
            log.warning("%s: holds also %s, not used", name, ", ".join(token.others))
        return io.NodeOutput(token)


def _embedding_path(name: str) -> Path:
    path = folder_paths.get_full_path(_EMBEDDINGS, name)
    if path is None:
        raise TokenError(
            f"the embedding '{name}' is not in the embeddings folder; choose another, or put it "
            "back"
        )
    return Path(path)


class TokenInfoZO(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "TokenInfoZO",
            [ZoToken.Input("token")],
            [io.String.Output("text")],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, token: Token) -> io.NodeOutput:
        text = describe_token(token)
        return io.NodeOutput(text, ui={"zoodip_text": [text]})


NODES = [ApplyTokenZO, SaveTokenZO, LoadTokenZO, TokenInfoZO]
