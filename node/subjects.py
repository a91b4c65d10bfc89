"""Add Subject (ZO) and Add Word (ZO): what a Personalize node learns beside its own word."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from comfy_api.latest import io

from .captions import DEFAULT
from .schema import schema

Subjects = io.Custom("ZO_SUBJECTS")


@dataclass(frozen=True)
class Word:
    """A word that is to be learned from the node's own pictures, whose captions have it."""

    word: str
    initialiser: str


@dataclass(frozen=True)
class Subject:
    """What one word is to be learned from, as the widgets and wires say it."""

    images: list[Any]
    captions: list[str]
    word: str
    initialiser: str


def subject_inputs(word: str) -> list[io.Input]:
    """word: the widget's first value."""
    return [
        io.Image.Input("images"),
        io.String.Input(
            "captions",
            multiline=True,
            default=DEFAULT,
            tooltip="What the pictures show, one line for each picture in their order, or one line "
            "for all. {} stands for the word; of several each is named, as in {sks}.",
        ),
        io.String.Input("word", default=word),
        io.String.Input("initialiser", default="dog"),
    ]


def subject_of(inputs: dict[str, list]) -> Subject:
    """Of a node that takes its inputs as lists: only pictures and captions may be several."""
    word, initialiser = (str(inputs[name][0]).strip() for name in ("word", "initialiser"))
    return Subject(inputs["images"], inputs["captions"], word, initialiser)


class AddSubjectZO(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "AddSubjectZO",
            [*subject_inputs("zwx"), Subjects.Input("subjects", optional=True)],
            [Subjects.Output("subjects_out")],
            is_input_list=True,
        )

    @classmethod
    def execute(cls, subjects: list | None = None, **inputs: list) -> io.NodeOutput:
        before = subjects[0] if subjects else ()
        return io.NodeOutput((*before, subject_of(inputs)))


class AddWordZO(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "AddWordZO",
            [
                io.String.Input("word", default="zwx"),
                io.String.Input("initialiser", default="person"),
                Subjects.Input("subjects", optional=True),
            ],
            [Subjects.Output("subjects_out")],
        )

    @classmethod
    def execute(cls, word: str, initialiser: str, subjects: tuple = ()) -> io.NodeOutput:
        return io.NodeOutput((*subjects, Word(word.strip(), initialiser.strip())))


NODES = [AddSubjectZO, AddWordZO]
