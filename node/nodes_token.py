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
    """A CLIP that knows the word."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="ApplyTokenZO",
            display_name="Apply Token (ZO)",
            category="ZOODiP",
            description="Teaches a CLIP the word of a token, for the prompts behind it. Further "
            "words can be applied one after the other.",
            inputs=[
                io.Clip.Input("clip", tooltip="The CLIP that shall know the word."),
                ZoToken.Input("token", tooltip="A learned word, of the same model family."),
            ],
            outputs=[
                io.Clip.Output(
                    "clip_out",
                    display_name="clip",
                    tooltip="The same CLIP; prompts may use the bare word, or embedding:word.",
                )
            ],
        )

    @classmethod
    def execute(cls, clip: Any, token: Token) -> io.NodeOutput:
        return io.NodeOutput(apply_token(clip, token))


class SaveTokenZO(io.ComfyNode):
    """A file in the embeddings folder."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="SaveTokenZO",
            display_name="Save Token (ZO)",
            category="ZOODiP",
            description="Saves a token as an embedding file of a few kilobytes, which any "
            "workflow loads by name.",
            is_output_node=True,
            inputs=[
                ZoToken.Input("token", tooltip="The learned word."),
                io.String.Input(
                    "name",
                    default="",
                    tooltip="Name of the file: letters, digits, '_', '.' and '-'; sub/name puts it "
                    "into a subfolder; %word%, %step%, %year%, %month%, %day%, %hour%, %minute% "
                    "and %second% are filled in. Empty takes the word itself.",
                ),
                io.Combo.Input(
                    "if_exists",
                    options=list(IF_EXISTS),
                    default=IF_EXISTS[0],
                    tooltip="number: keep the earlier file and add _2, _3 and so on; replace: "
                    "write over it.",
                ),
            ],
            outputs=[
                io.String.Output(
                    "name_out",
                    display_name="name",
                    tooltip="How prompts name it: embedding:NAME.",
                )
            ],
        )

    @classmethod
    def execute(cls, token: Token, name: str, if_exists: str) -> io.NodeOutput:
        folder = Path(folder_paths.get_folder_paths(_EMBEDDINGS)[0])
        name = f"embedding:{save_token(folder, token, name, if_exists)}"
        # The host lists a folder anew when its time changes, which coarse clocks may not show.
        folder_paths.filename_list_cache.pop(_EMBEDDINGS, None)
        return io.NodeOutput(name, ui={"zoodip_text": [name]})


class LoadTokenZO(io.ComfyNode):
    """A token from the embeddings folder."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="LoadTokenZO",
            display_name="Load Token (ZO)",
            category="ZOODiP",
            description="Loads an embedding file, of this package or of a Textual Inversion.",
            inputs=[
                io.Combo.Input(
                    "name",
                    options=folder_paths.get_filename_list(_EMBEDDINGS),
                    tooltip="A file of the embeddings folder.",
                ),
                io.String.Input(
                    "word",
                    default="",
                    tooltip="How prompts name it. Empty takes the file's own word, else its name.",
                ),
            ],
            outputs=[ZoToken.Output("token", display_name="token", tooltip="The learned word.")],
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
    """What a token is and how it was made."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="TokenInfoZO",
            display_name="Token Info (ZO)",
            category="ZOODiP",
            description="Shows what a token is and how it was made.",
            is_output_node=True,
            inputs=[ZoToken.Input("token", tooltip="The learned word.")],
            outputs=[
                io.String.Output(
                    "text",
                    display_name="text",
                    tooltip="Word, encoders, vectors and their norms, steps, settings, model.",
                )
            ],
        )

    @classmethod
    def execute(cls, token: Token) -> io.NodeOutput:
        text = describe_token(token)
        return io.NodeOutput(text, ui={"zoodip_text": [text]})


NODES = [ApplyTokenZO, SaveTokenZO, LoadTokenZO, TokenInfoZO]
