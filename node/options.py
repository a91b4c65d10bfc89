"""Training Options (ZO): the engine's settings as widgets."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from . import settings
from .schema import schema

Options = io.Custom("ZO_OPTIONS")


def _widget(field: dict[str, Any]) -> io.Input:
    made = _plain_widget(field)
    # As extra fields, because older hosts have no argument for them.
    if field["name"] not in settings.AT_ONCE:
        made.extra_dict["advanced"] = True  # the page hides it until it is asked for all
    if field["name"] in settings.OF_METHODS:
        made.extra_dict["methods"] = list(settings.OF_METHODS[field["name"]])
    return made


def _plain_widget(field: dict[str, Any]) -> io.Input:
    name, default = field["name"], field["default"]
    said = {"default": default, "tooltip": settings.help_text(field)}
    said["display_name"] = f"{name} (0 = auto)" if name in settings.AUTOMATIC else name
    if "choices" in field:
        return io.Combo.Input(name, options=field["choices"], **said)
    if field["type"] == "boolean":
        return io.Boolean.Input(name, **said)
    if field["type"] == "string":
        return io.String.Input(name, **said)
    low, high = field["minimum"], field["maximum"]
    if field["type"] == "integer":
        return io.Int.Input(name, min=int(low), max=int(high), **said)
    # Small numbers: a step that spoils none, and no rounding to what the page can show.
    step = 0.5 if default >= 1 else 1e-6
    return io.Float.Input(name, min=low, max=high, step=step, round=False, **said)


def _widgets() -> list[io.Input]:
    fields = settings.options()
    if hasattr(io, "DynamicCombo"):
        # The method with the settings that only it looks at.
        return [
            _folded(field, fields) if name == "method" else _widget(field)
            for name, field in fields.items()
            if name not in settings.OF_METHODS
        ]
    widgets = [_widget(field) for field in fields.values()]
    # All that follow the method are optional: a prompt may spell them under it, and the page puts
    # optional ones last, where they keep their order.
    for widget in widgets[list(fields).index("method") + 1 :]:
        widget.optional = True
    return widgets


def _folded(method: dict[str, Any], fields: dict[str, dict[str, Any]]) -> io.Input:
    choices = []
    for choice in method["choices"]:
        own = [name for name, methods in settings.OF_METHODS.items() if choice in methods]
        widgets = [_widget(fields[name]) for name in own]
        for widget in widgets:
            widget.optional = True  # a prompt may spell them beside the method
        choices.append(io.DynamicCombo.Option(choice, widgets))
    return io.DynamicCombo.Input("method", options=choices, tooltip=settings.help_text(method))


class TrainingOptionsZO(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "TrainingOptionsZO",
            _widgets(),
            [Options.Output()],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt],
        )

    @classmethod
    def validate_inputs(cls, resolution: int | None = None, *, method: Any = None) -> bool | str:
        """At once, not when the pictures were read. None: it comes from another node.

        method: a host that folds settings into it hands it over whatever is asked. By keyword
        alone, which the host does not count as asking, so that the problem is told once.
        """
        largest = int(settings.declared()["resolution"]["maximum"])
        # Some families halve three times what the autoencoder made eight times smaller.
        if not resolution or (0 < resolution <= largest and resolution % 64 == 0):
            return True
        return (
            f"resolution: needs a multiple of 64 up to {largest}, or 0 for what the model was made "
            f"for; got {resolution}"
        )

    @classmethod
    def execute(cls, method: Any = None, **values: Any) -> io.NodeOutput:
        asked = ((cls.hidden.prompt or {}).get(cls.hidden.unique_id) or {}).get("inputs", {})
        settings.check_names(asked)
        # A host that folds settings into it leaves out one that it does not know.
        method = asked.get("method") if method is None else method
        given = {**values, **(method if isinstance(method, dict) else {"method": method})}
        # One that the prompt does not give comes as None, or does not come.
        given = {name: value for name, value in given.items() if value is not None}
        spelled = settings.spelled(asked, given)
        settings.check(spelled)
        return io.NodeOutput(settings.chosen(spelled))


NODES = [TrainingOptionsZO]
