"""The ablation's cells, counts and verdicts; nothing is trained."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import zoodip

from tests.bench import ablation
from tests.bench._ablation_cells import (
    BASELINE,
    BASELINE_NAME,
    FILLS,
    SECTIONS,
    Row,
    cells_of,
    passes_a_step,
    sections_for,
    steps_of,
)
from tests.bench._ablation_numbers import (
    NO_DIFFERENCE,
    TOO_FEW,
    Difference,
    Run,
    agreement,
    difference,
    over_seeds,
    paper_says,
    shares_of,
)
from tests.bench._ablation_report import report

PASSES = ablation.FULL.passes


# --- cells ----------------------------------------------------------------------------------------


def test_a_cell_differs_from_the_baseline_in_what_it_names() -> None:
    rows = [row for section in SECTIONS for row in section.rows]
    for row in rows:
        differing = {name for name, value in row.settings.items() if value != BASELINE[name]}
        assert differing == set(row.changes)
        assert all(name in row.name for name in differing)
    names = {row.name: row.settings for row in rows}
    assert all(names[row.name] == row.settings for row in rows)
    assert len({json.dumps(s, sort_keys=True) for s in names.values()}) == len(names)


def test_the_engine_knows_every_setting() -> None:
    known = {setting["name"] for setting in zoodip.settings()}
    assert set(BASELINE) <= known


def test_the_baseline_comes_first_and_every_section_has_it() -> None:
    assert next(iter(cells_of(sections_for(PASSES, quick=False)))) == BASELINE_NAME
    for section, quick in product(SECTIONS, (False, True)):
        kept = next(s for s in sections_for(PASSES, quick) if s.title == section.title)
        assert not kept.rows[0].changes
        others = [kept.other(row) for row in kept.rows[1:]]
        assert len(others) >= 1 and all(other in kept.rows for other in others)


def test_all_cells_make_as_many_steps_as_fit_into_the_same_passes() -> None:
    for settings in cells_of(sections_for(PASSES, quick=False)).values():
        made = steps_of(settings, PASSES) * passes_a_step(settings)
        assert PASSES - passes_a_step(settings) < made <= PASSES
    assert passes_a_step(BASELINE) == 3
    assert passes_a_step(BASELINE | {"n": 8}) == 9
    assert passes_a_step(BASELINE | {"method": "spsa", "n": 4}) == 8
    assert passes_a_step(BASELINE | {"method": "exact", "n": 4}) == 3


def test_a_tau_fills_five_times_within_its_run() -> None:
    for passes in (PASSES, 2 * PASSES):
        cells = cells_of(sections_for(passes, quick=False))
        changed = [cell["tau"] for cell in cells.values() if cell["tau"] != BASELINE["tau"]]
        assert changed and all(FILLS * tau * 3 <= passes for tau in changed)
    assert 85 not in [cell["tau"] for cell in cells_of(sections_for(PASSES, False)).values()]
    assert 85 in changed


# --- jobs -----------------------------------------------------------------------------------------


def test_an_interrupted_ablation_is_balanced() -> None:
    jobs = ablation.all_jobs(ablation.FULL)
    seeds = [job.seed for job in jobs]
    assert seeds == sorted(seeds) and set(seeds) == {0, 1, 2}
    assert len({job.file for job in jobs}) == len(jobs)
    quick = ablation.all_jobs(ablation.QUICK)
    assert len(quick) * 6 < len(jobs)


def test_a_changed_cell_is_done_again(tmp_path: Path) -> None:
    job = ablation.Job("nu 0.1", "cat", 1, BASELINE | {"nu": 0.1, "steps": 9, "seed": 1})
    run = Run(job.cell, job.subject, job.seed, 0.5, 27, 1.0)
    (tmp_path / job.file).write_text(json.dumps({"run": vars(run)}), "utf-8")
    changed = ablation.Job(job.cell, job.subject, job.seed, job.settings | {"steps": 10})
    assert ablation.kept(tmp_path, [job]) == {job.file: run}
    assert ablation.kept(tmp_path, [changed]) == {}


def test_without_a_reference_there_is_no_report() -> None:
    runs = made_up({})
    plan = replace(ablation.FULL, subjects=("cat", "car"))
    ablation.need_references(plan, runs)
    with pytest.raises(SystemExit, match="loss of the gradient is not measured yet for car"):
        ablation.need_references(plan, runs[:-1])


def test_the_command_names_what_differs_from_the_usual_plan() -> None:
    assert ablation.command_of(ablation.FULL) == "python -m zoodip.bench ablation"
    changed = replace(ablation.QUICK, seeds=4, passes=99)
    assert ablation.command_of(changed).endswith("ablation --quick --seeds 4 --passes 99")


# --- the report -----------------------------------------------------------------------------------


def made_up(losses: dict[str, list[float]]) -> list[Run]:
    """`losses`: by cell, two subjects with three seeds each."""
    keys = list(product(("cat", "car"), range(3)))
    ends = [Run("initialiser", s, 0, 1.0, 0, 0.0) for s in ("cat", "car")]
    ends += [Run("gradient", "cat", 0, 0.5, 0, 0.0), Run("gradient", "car", 0, 0.8, 0, 0.0)]
    return ends + [
        Run(cell, subject, seed, loss, 720, 1.0)
        for cell, mine in losses.items()
        for (subject, seed), loss in zip(keys, mine, strict=True)
    ]


def test_a_share_is_of_the_subjects_own_gain() -> None:
    shares = shares_of(
        made_up({"half": [0.75] * 3 + [0.9] * 3, "one": [0.5, 0.75, 1.0] + [0.9] * 3})
    )
    assert list(shares["half"].values()) == pytest.approx([0.5] * 6)
    assert over_seeds(shares["half"]) == pytest.approx((0.5, 0))
    # By seed (1 + .5) / 2, (.5 + .5) / 2, (0 + .5) / 2.
    assert over_seeds(shares["one"]) == pytest.approx((0.5, 0.25))


def test_a_seed_that_is_half_done_does_not_tilt_the_mean() -> None:
    assert over_seeds({("cat", 0): 0.2, ("car", 0): 0.4, ("cat", 1): 0.9}) == (
        pytest.approx(0.3),
        None,
    )


def test_the_error_of_a_difference_is_that_within_subjects() -> None:
    """Differences of 0, .1, .2 and 1, 1.1, 1.2: the gap between subjects is no chance. Variance
    .01 within each, so .01 * (1/3 + 1/3) / 4 for the mean of the two means."""
    other = dict.fromkeys(product(("cat", "car"), range(3)), 0.0)
    mine = dict(zip(other, (0.0, 0.1, 0.2, 1.0, 1.1, 1.2), strict=True))
    found = difference(mine, other)
    assert found.mean == pytest.approx(0.6)
    assert found.error == pytest.approx((0.01 * (2 / 3) / 4) ** 0.5)
    assert found.freedom == 4
    assert difference({("cat", 0): 1.0}, {("cat", 1): 1.0}) is None


def test_verdicts_follow_from_the_numbers() -> None:
    """Student's t for 95 % and four degrees of freedom is 2.776."""
    assert Difference(0.279, 0.1, 4).verdict == "better"
    assert Difference(-0.279, 0.1, 4).verdict == "worse"
    assert Difference(0.277, 0.1, 4).verdict == NO_DIFFERENCE
    assert Difference(9.0, None, 0).verdict == TOO_FEW


def test_the_papers_verdict_follows_from_its_scores() -> None:
    base = Row("base", {}, {"CLIP-I": 0.7, "DINO": 0.5})
    assert paper_says(Row("a", {}, {"CLIP-I": 0.8, "DINO": 0.6}), base) == "better"
    assert paper_says(Row("a", {}, {"CLIP-I": 0.6}), base) == "worse"
    assert paper_says(Row("a", {}, {"CLIP-I": 0.8, "DINO": 0.4}), base) == "mixed"
    assert paper_says(Row("a", {}, {"CLIP-I": 0.8, "DINO": 0.6}, says="same"), base) == "same"
    assert paper_says(Row("a"), base) == ""


@pytest.mark.parametrize(
    ("paper", "ours", "verdict"),
    [
        ("better", "better", "agrees"),
        ("worse", "better", "does not agree"),
        ("worse", NO_DIFFERENCE, NO_DIFFERENCE),
        ("same", NO_DIFFERENCE, "agrees"),
        ("same", "worse", "does not agree"),
        ("mixed", "worse", "the paper is undecided"),
        ("better", TOO_FEW, TOO_FEW),
        ("", "worse", ""),
    ],
)
def test_the_paper_and_the_numbers_are_put_side_by_side(
    paper: str, ours: str, verdict: str
) -> None:
    assert agreement(paper, ours) == verdict


def test_the_report_is_tables_json_and_a_plot(tmp_path: Path) -> None:
    losses = {
        BASELINE_NAME: [0.7, 0.71, 0.69, 0.88, 0.884, 0.876],
        "method spsa": [0.9, 0.91, 0.89, 0.96, 0.964, 0.956],
        "method one_point": [0.7, 0.69, 0.71, 0.88, 0.876, 0.884],
    }
    runs = [*made_up(losses), Run("n 8", "cat", 0, 0.0, 0, 0.1, "n: needs at most 4")]
    plan = ablation.Plan(PASSES, 3, ("cat", "car"), 200, False)
    sections = [s for s in sections_for(PASSES, False) if "S4" in s.title or "S6" in s.title]
    table = report(runs, sections, plan, "bench", tmp_path)
    lines = {line.split(" | ")[0]: line for line in table.splitlines() if line.startswith("| ")}
    assert "0.60 (0.02)" in lines["| RGE"]
    assert "180 x 4 | 0.20 (0.02) | -0.40" in lines["| SPSA"]
    assert lines["| SPSA"].endswith("| worse | .732, .506 | worse | agrees |")
    assert lines["| one-point"].endswith(f"| worse | {NO_DIFFERENCE} |")
    assert "not measured" in lines["| n 8"] and "needs at most 4" in table
    assert "the paper by CLIP-I: RGE > SPSA > one-point" in table
    assert "1 agrees, 1 no difference beyond chance" in table
    content = json.loads((tmp_path / "results.json").read_text("utf-8"))
    assert len(content["runs"]) == len(runs)
    assert (tmp_path / "plot.png").stat().st_size > 1000
