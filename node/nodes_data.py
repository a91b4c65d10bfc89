"""Nodes that bring pictures and captions."""

from __future__ import annotations

import logging
from pathlib import Path

import folder_paths
from comfy_api.latest import io

from .captions import DEFAULT, TEMPLATE_SETS, CaptionError, known_template_set, template_captions
from .pictures import (
    NoEngineError,
    PictureError,
    folder_fingerprint,
    list_folders,
    load_pictures,
    read_folder,
    resolve_folder,
)
from .schema import schema

log = logging.getLogger("zoodip")

_PACKAGE = Path(__file__).resolve().parents[1]


def _folder(name: str) -> Path:
    return resolve_folder(name, folder_paths.get_input_directory(), _PACKAGE)


class LoadTrainingImagesZO(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "LoadTrainingImagesZO",
            [
                io.Combo.Input(
                    "folder", options=list_folders(folder_paths.get_input_directory(), _PACKAGE)
                ),
                io.Int.Input("size", default=512, min=64, max=2048),
                io.String.Input(
                    "caption",
                    default=DEFAULT,
                    tooltip="Caption of the pictures that have none; {} stands for the new word.",
                ),
            ],
            [io.Image.Output("images"), io.String.Output("captions"), io.Int.Output("count")],
        )

    @classmethod
    def validate_inputs(cls, folder: str | None) -> bool | str:
        """Also takes the place of the host's check against the list, which may be out of date.

        None: the name comes from another node, and is looked up when it is known.
        """
        try:
            if folder is not None:
                read_folder(_folder(folder))
        except NoEngineError:
            return True  # the folder may be a good one; execute tells what is missing
        except PictureError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, folder: str, size: int, caption: str) -> str:
        try:
            return folder_fingerprint(_folder(folder))
        except PictureError as error:
            return str(error)  # execute tells it

    @classmethod
    def execute(cls, folder: str, size: int, caption: str) -> io.NodeOutput:
        read = read_folder(_folder(folder))
        log.log(
            logging.WARNING if read.lacks_something else logging.INFO, "%s: %s", folder, read.text
        )
        images, captions = load_pictures(read, size, caption)
        shown = {"zoodip_text": [read.text]}
        if read.lacks_something:
            shown["zoodip_left_out"] = [read.text]
        # None may be empty: each is to stay that of its picture.
        lines = [each or DEFAULT for each in captions]
        return io.NodeOutput(images, "\n".join(lines), len(captions), ui=shown)


class CaptionsZO(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "CaptionsZO",
            [
                io.Combo.Input(
                    "template_set",
                    options=list(TEMPLATE_SETS),
                    default=TEMPLATE_SETS[0],
                    tooltip="Your own lines, 27 templates for objects (a photo of a {}), or 17 for "
                    "styles (a painting in the style of {}).",
                ),
                io.String.Input(
                    "text",
                    multiline=True,
                    default=DEFAULT,
                    tooltip="One caption a line, used with 'lines below'; {} stands for the new "
                    "word.",
                ),
                io.Int.Input("count", default=0, min=0, max=4096),
            ],
            [io.String.Output("captions")],
        )

    @classmethod
    def validate_inputs(cls, template_set: str | None) -> bool | str:
        """Takes the place of the host's check against the list, which lacks the earlier names.

        None: the name comes from another node, and is looked up when it is known.
        """
        try:
            if template_set is not None:
                known_template_set(template_set)
        except CaptionError as error:
            return str(error)
        return True

    @classmethod
    def execute(cls, template_set: str, text: str, count: int) -> io.NodeOutput:
        return io.NodeOutput("\n".join(template_captions(template_set, text, count)))


NODES = [LoadTrainingImagesZO, CaptionsZO]
