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
    said = {"tooltip": settings.help_text(field), "display_name": settings.label(name)}
    if "choices" in field:
        return io.Combo.Input(name, options=field["choices"], default=default, **said)
    if field["type"] == "boolean":
        return io.Boolean.Input(name, default=default, **said)
    if field["type"] == "string":
        return io.String.Input(name, default=default, **said)
    limits = {"min": field["minimum"], "max": field["maximum"]}
    if field["type"] == "integer":
        whole = {key: int(value) for key, value in limits.items()}
        return io.Int.Input(name, default=default, **said, **whole)
    # Small numbers: a step that spoils none, and no rounding to what the page can show.
    step = 0.5 if default >= 1 else 1e-6
    return io.Float.Input(name, default=default, step=step, round=False, **limits, **said)


def _folded(field: dict[str, Any]) -> io.Input:
    """The method with the settings that only it looks at, where the host can fold them in."""
    fields = {other["name"]: other for other in settings.options()}
    choices = []
    for method in field["choices"]:
        own = [fields[name] for name, methods in settings.OF_METHODS.items() if method in methods]
        widgets = [_widget(each) for each in own]
        for widget in widgets:
            widget.optional = True  # a prompt may spell them beside the method
        choices.append(io.DynamicCombo.Option(method, widgets))
    return io.DynamicCombo.Input(field["name"], options=choices, tooltip=settings.help_text(field))


def _widgets() -> list[io.Input]:
    if not hasattr(io, "DynamicCombo"):
        return _side_by_side()
    return [
        _folded(field) if field["name"] == "method" else _widget(field)
        for field in settings.options()
        if field["name"] not in settings.OF_METHODS
    ]


def _side_by_side() -> list[io.Input]:
    """All that follow the method are optional: a prompt may spell them under it, and the page puts
    optional ones last, where they keep their order."""
    widgets = [_widget(field) for field in settings.options()]
    after = [field["name"] for field in settings.options()].index("method") + 1
    for widget in widgets[after:]:
        widget.optional = True
    return widgets


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
        return (settings.resolution_problem(resolution) if resolution else None) or True

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
