"""The cells of the ablation: the baseline, what each row changes in it, and what the paper found.

A cell is its changes, and its name follows from them. A row may be compared with another row than
the baseline, and several rows may share a cell.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from demo.world import SIZE

Settings = Mapping[str, Any]

# ZOODiP as the paper sets it up, tau in its proportion to the model's width of 128. The rest keeps
# the word as the last step left it.
BASELINE: dict[str, Any] = {
    "resolution": SIZE,
    "method": "rge",
    "slope": "loss",
    "directions": "normal",
    "n": 2,
    "mu": 1e-3,
    "batch": 1,
    "learning_rate": 5e-3,
    "adam_eps": 1e-3,
    "learning_rate_schedule": "constant",
    "average_steps": 0,
    "subspace": True,
    "tau": 21,
    "nu": 1e-3,
    "timesteps": "puts",
    "t_lower": 500,
    "t_upper": 900,
    "weights": "int8",
    "compute": "fp32",
    "vectors": 1,
    "validate_every": 0,
    "divergence": 0,
}
BASELINE_NAME = "baseline"
FILLS = 5  # how often a cell's tau words must fit into its run
EXACT = {"method": "exact", "learning_rate": 1e-2}  # the engine's own rate for it


@dataclass(frozen=True)
class Row:
    """One line of a section's table."""

    label: str
    changes: Settings = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)  # the paper's; more is better
    says: str = ""  # the paper's text against the other row: better, worse or same
    against: str = ""  # the label of the row to compare with; empty: that of the baseline

    @property
    def name(self) -> str:
        """Of the cell."""
        return ", ".join(f"{key} {_told(value)}" for key, value in self.changes.items()) or (
            BASELINE_NAME
        )

    @property
    def settings(self) -> dict[str, Any]:
        return BASELINE | self.changes


@dataclass(frozen=True)
class Section:
    """What is compared, beside a table of the paper. The last row stands for it when time is
    short."""

    title: str
    note: str
    rows: tuple[Row, ...]

    def other(self, row: Row) -> Row | None:
        """The row that `row` is compared with; None for the baseline itself."""
        if row.against:
            return next(other for other in self.rows if other.label == row.against)
        return (
            next((other for other in self.rows if not other.changes), None)
            if row.changes
            else (None)
        )


def _told(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _alike(image: float, dino: float) -> dict[str, float]:
    return {"CLIP-I": image, "DINO": dino}


def _paper_tau(label: str, tau: int, score: float) -> Row:
    changes = {} if tau == BASELINE["tau"] else {"tau": tau}
    return Row(label, changes, {"CLIP-I": score})


SECTIONS = (
    Section(
        "Subspace gradient and partial uniform timesteps (Table 3)",
        "",
        (
            Row("SG and PUTS", {}, _alike(0.759, 0.569)),
            Row("SG", {"timesteps": "uniform"}, _alike(0.747, 0.527)),
            Row("PUTS", {"subspace": False}, _alike(0.744, 0.562)),
            Row("neither", {"subspace": False, "timesteps": "uniform"}, _alike(0.736, 0.505)),
        ),
    ),
    Section(
        "How many words the subspace is found from (Table 4, nu 1e-3)",
        "The paper's tau is scaled from its width of 768 to the demo's of 128; rows that do not "
        f"fill {FILLS} times within the run are left out.",
        (
            _paper_tau("tau 21 (128 of 768)", 21, 0.759),
            _paper_tau("tau 5 (32 of 768)", 5, 0.716),
            _paper_tau("tau 11 (64 of 768)", 11, 0.712),
            _paper_tau("tau 43 (256 of 768)", 43, 0.738),
            _paper_tau("tau 85 (512 of 768)", 85, 0.676),
        ),
    ),
    Section(
        "Share of the variance that counts as hardly moved (Table 4, tau 128 of 768)",
        "",
        (
            Row("nu 1e-3", {}, {"CLIP-I": 0.759}),
            Row("nu 1e-2", {"nu": 1e-2}, {"CLIP-I": 0.735}),
            Row("nu 1e-4", {"nu": 1e-4}, {"CLIP-I": 0.716}),
            Row("nu 1e-1", {"nu": 1e-1}, {"CLIP-I": 0.736}),
        ),
    ),
    Section(
        "Timestep plans (Table 5)",
        "",
        (
            Row("puts", {}, _alike(0.759, 0.569)),
            Row("uniform", {"timesteps": "uniform"}, _alike(0.747, 0.527)),
            Row("stratified", {"timesteps": "stratified"}),
            Row("snr", {"timesteps": "snr"}, _alike(0.719, 0.545)),
        ),
    ),
    Section(
        "Estimators (Table S4)",
        "The paper compares at equal steps, this at equal passes: SPSA makes fewer steps. The "
        "one-point estimate is taken with residual feedback, whose sign is right; as printed in "
        "the paper it climbs.",
        (
            Row("RGE", {}, _alike(0.759, 0.569)),
            Row("SPSA", {"method": "spsa"}, _alike(0.732, 0.506)),
            Row("one-point", {"method": "one_point"}, _alike(0.703, 0.393)),
        ),
    ),
    Section(
        "How far the loss is looked at, by type of the activations (Table S5)",
        "The paper's numbers are of activations that hold 1e-3; for bf16 it says that 1e-3 is too "
        "small and 1e-2 best.",
        (
            Row("mu 1e-3, fp32", {}, _alike(0.797, 0.613)),
            Row("mu 1e-4, fp32", {"mu": 1e-4}, _alike(0.724, 0.470)),
            Row("mu 1e-2, fp32", {"mu": 1e-2}, _alike(0.778, 0.599)),
            Row("mu 1e-3, bf16", {"compute": "bf16"}),
            Row("mu 1e-4, bf16", {"compute": "bf16", "mu": 1e-4}, against="mu 1e-3, bf16"),
            Row(
                "mu 1e-2, bf16",
                {"compute": "bf16", "mu": 1e-2},
                says="better",
                against="mu 1e-3, bf16",
            ),
        ),
    ),
    Section(
        "Slopes a step (Table S6)",
        "The paper compares at equal steps, this at equal passes: more slopes are fewer steps.",
        (
            Row("n 2", {}, _alike(0.796, 0.613)),
            Row("n 1", {"n": 1}, _alike(0.736, 0.495)),
            Row("n 4", {"n": 4}, _alike(0.784, 0.584)),
            Row("n 8", {"n": 8}, _alike(0.798, 0.627)),
        ),
    ),
    Section(
        "The exact gradient, with and without partial uniform timesteps (Table S7, textual "
        "inversion)",
        "A step is a forward and a backward pass, and a backward pass counts as two forward ones; "
        "no subspace, learning rate 1e-2.",
        (
            Row("ZOODiP", {}),
            Row(
                "exact, uniform",
                {**EXACT, "subspace": False, "timesteps": "uniform"},
                _alike(0.798, 0.584),
            ),
            Row(
                "exact, PUTS",
                {**EXACT, "subspace": False},
                _alike(0.825, 0.661),
                against="exact, uniform",
            ),
        ),
    ),
    Section(
        "Quantised weights (Table S8)",
        "INT4 is of the UNet alone. The paper learns on it with bf16 activations and mu 1e-2, and "
        "finds its results worse by eye and by CLIP-T (.212 for .288), though not by CLIP-I.",
        (
            Row("INT8", {}, _alike(0.834, 0.657)),
            Row("dense", {"weights": "dense"}, says="same"),
            Row("INT4", {"weights": "int4"}),
            Row(
                "INT4, bf16, mu 1e-2",
                {"weights": "int4", "compute": "bf16", "mu": 1e-2},
                _alike(0.835, 0.647),
                says="worse",
            ),
        ),
    ),
    Section(
        "What a slope is made of (not in the paper)",
        "",
        (
            Row("loss, fp32", {}),
            Row("residual, fp32", {"slope": "residual"}),
            Row("loss, bf16", {"compute": "bf16"}),
            Row("loss, bf16, mu 1e-2", {"compute": "bf16", "mu": 1e-2}),
            Row(
                "residual, bf16, mu 1e-2",
                {"slope": "residual", "compute": "bf16", "mu": 1e-2},
                against="loss, bf16, mu 1e-2",
            ),
            Row(
                "residual, bf16",
                {"slope": "residual", "compute": "bf16"},
                against="loss, bf16",
            ),
        ),
    ),
    Section(
        "Where the directions lie (not in the paper)",
        "",
        (
            Row("normal", {}),
            Row("principal", {"directions": "principal"}),
        ),
    ),
)


def passes_a_step(settings: Settings) -> int:
    """Forward passes of the UNet; a backward pass counts as two."""
    n = int(settings["n"])
    of_method = {"rge": n + 1, "one_point": n + 1, "spsa": 2 * n, "exact": 1 + 2}
    return of_method[settings["method"]] * int(settings["batch"])


def steps_of(settings: Settings, passes: int) -> int:
    return passes // passes_a_step(settings)


def sections_for(passes: int, quick: bool) -> list[Section]:
    """The sections with the rows that `passes` let be measured: a tau that was changed fills five
    times. `quick` keeps one row of each section and what it is compared with."""
    found = []
    for section in SECTIONS:
        rows = [
            row
            for row in section.rows
            if "tau" not in row.changes
            or FILLS * row.settings["tau"] <= steps_of(row.settings, passes)
        ]
        if quick:
            others = ("", section.rows[0].label, rows[-1].against)
            rows = [row for row in rows if row is rows[-1] or row.label in others]
        found.append(Section(section.title, section.note, tuple(rows)))
    return found


def cells_of(sections: list[Section]) -> dict[str, dict[str, Any]]:
    """Settings by name, the baseline first, each cell once."""
    return {row.name: row.settings for section in sections for row in section.rows}
