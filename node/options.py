"""Training Options (ZO): the engine's settings as widgets."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from . import settings

Options = io.Custom("ZO_OPTIONS")


def _widget(field: dict[str, Any]) -> io.Input:
    made = _plain_widget(field)
    if field["name"] not in settings.AT_ONCE:
        # What the page hides until it is asked for all; older hosts have no argument for it.
        made.extra_dict["advanced"] = True
    return made


def _plain_widget(field: dict[str, Any]) -> io.Input:
    name, default, tooltip = field["name"], field["default"], settings.help_text(field)
    if "choices" in field:
        return io.Combo.Input(name, options=field["choices"], default=default, tooltip=tooltip)
    if field["type"] == "boolean":
        return io.Boolean.Input(name, default=default, tooltip=tooltip)
    if field["type"] == "string":
        return io.String.Input(name, default=default, tooltip=tooltip)
    limits = {"min": field["minimum"], "max": field["maximum"]}
    if field["type"] == "integer":
        whole = {key: int(value) for key, value in limits.items()}
        return io.Int.Input(name, default=default, tooltip=tooltip, **whole)
    # Small numbers: a step that spoils none, and no rounding to what the page can show.
    step = 0.5 if default >= 1 else 1e-6
    return io.Float.Input(name, default=default, tooltip=tooltip, step=step, round=False, **limits)


class TrainingOptionsZO(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TrainingOptionsZO",
            display_name="Training Options (ZO)",
            category="ZOODiP",
            description="Everything about how a word is learned that the Personalize nodes leave "
            "at its default.",
            inputs=[_widget(field) for field in settings.options()],
            outputs=[
                Options.Output(
                    display_name="options", tooltip="For the options input of a Personalize node."
                )
            ],
        )

    @classmethod
    def execute(cls, **values: Any) -> io.NodeOutput:
        return io.NodeOutput(settings.chosen(values))


NODES = [TrainingOptionsZO]
