"""Learning, end to end: the native engine on the demo model, judged by diffusers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from demo.subjects import find_subject
from tests.bench import learn
from tests.bench._judge import judge_of
from tests.bench._learn_report import Result, passes_to, report, share_of_gradient, shares
from tests.bench.spread import fall_of_loss

# `python -m zoodip.bench spread`: over eight seeds the loss fell by .0268 from .1277 in the mean,
# with a deviation of .0018. Four deviations less are this.
MARGIN = 0.0196


def test_a_word_is_learned_from_an_initialiser_of_the_wrong_class() -> None:
    """On held-out pictures, before backgrounds that the training pictures do not have."""
    before, after = fall_of_loss(seed=0)
    assert before - after > MARGIN


def test_a_word_is_looked_at_on_its_way() -> None:
    """The benchmark's curve: the words of the checkpoints, and the last one."""
    plan = learn.Plan(seeds=(0,), part=12 * 3 / 2400, gradient_steps=0)
    subject = find_subject("blue_spotted_dog")
    job = learn.Job("sd1", subject.name, 0, "ZOODiP", "dog")
    words = learn.train(judge_of(subject.name, "sd1"), job, plan)
    assert [passes for passes, _ in words] == list(range(3, 39, 3))
    assert len({tuple(word.flatten().tolist()) for _, word in words}) == 12


# --- the benchmark's arithmetic -------------------------------------------------------------------


def curve(loss: float) -> list[tuple[int, float]]:
    return [(0, 1.0), (9, loss)]


def made_up(losses: dict[str, list[float]]) -> list[Result]:
    """`losses`: by method, two subjects with two seeds each."""
    keys = [("a", 0), ("a", 1), ("b", 0), ("b", 1)]
    return [
        Result(subject, seed, method, "dog", loss, 0.5, 0.5, 1.0, 9, 1.0, curve(loss))
        for method, mine in losses.items()
        for (subject, seed), loss in zip(keys, mine, strict=True)
    ]


LOSSES = {
    "initialiser": [1.0, 1.0, 1.0, 1.0],
    "description": [0.4, 0.4, 0.4, 0.4],
    "gradient": [0.5, 0.5, 0.8, 0.8],
    "half": [0.75, 0.75, 0.9, 0.9],
    "uneven": [0.5, 0.5, 1.0, 1.0],
}


def test_the_share_is_pooled_over_subjects() -> None:
    """Half of each gain is half of all; the whole of the larger of .5 and .2 is 1 / 1.4 of all."""
    results = made_up(LOSSES)
    assert share_of_gradient(results, "half") == pytest.approx((0.5, 0.5, 0.5))
    share, low, high = share_of_gradient(results, "uneven")
    assert share == pytest.approx(1 / 1.4)
    assert (low, high) == pytest.approx((0, 1))  # both draws may be of one subject
    assert share_of_gradient(results, "gradient")[0] == pytest.approx(1)


def test_methods_are_compared_on_the_same_runs() -> None:
    results = made_up(LOSSES)
    difference, low, high = share_of_gradient(results, "uneven", other="half")
    assert difference == pytest.approx(1 / 1.4 - 0.5)
    assert low == pytest.approx(-0.5) and high == pytest.approx(0.5)
    assert share_of_gradient(results, "half", other="half") == pytest.approx((0, 0, 0))


def test_passes_are_counted_to_where_a_run_first_gets_there(tmp_path: Path) -> None:
    """Of four runs that gain 1.5, 1.5, 0.6 and 0.6 of the gradient's, by a line from 0 to 9 passes:
    half after 3, 3, 7.5 and 7.5; nine tenths after 5.4 and 5.4 alone."""
    results = made_up(LOSSES | {"half": [0.25, 0.25, 0.88, 0.88]})
    assert shares(results, "half") == pytest.approx([1.5, 1.5, 0.6, 0.6])
    assert passes_to(results, "half", 0.5) == pytest.approx((3 + 7.5) / 2)
    assert passes_to(results, "half", 0.9) == float("inf")
    assert "| 5 | not |" in report(results, {}, [], tmp_path)


def test_the_report_is_a_table_json_and_a_plot(tmp_path: Path) -> None:
    results = made_up(LOSSES)
    table = report(results, {"plan": 1}, [("half", "uneven")], tmp_path)
    assert "| half | 0.82500 | 0.50 (0.50 to 0.50)" in table
    assert "| a | 50.0% | 1.20 | 0.50 | 1.00 |" in table
    content = json.loads((tmp_path / "results.json").read_text("utf-8"))
    assert content["shares"]["half"] == pytest.approx([0.5, 0.5, 0.5])
    assert [Result(**entry) for entry in content["results"]][0].subject == "a"
    assert (tmp_path / "curves.png").stat().st_size > 1000


def test_half_of_the_initialisers_are_of_a_wrong_class() -> None:
    jobs = learn.all_jobs("sd1", learn.FULL)
    pairs = {(job.subject, job.seed): job.initialiser for job in jobs}
    right = [find_subject(name).look.kind == word for (name, _), word in pairs.items()]
    assert sum(right) * 2 == len(right)
    moving = [job.file for job in jobs if job.method in learn.TRAINED]
    assert len(set(moving)) == len(moving)


def test_a_work_folder_is_of_one_model_and_plan(tmp_path: Path) -> None:
    settings = {"plan": {"seeds": (0, 1)}, "preset": {"steps": 3}}
    learn.keep_to_one_setting(tmp_path, settings)
    learn.keep_to_one_setting(tmp_path, settings)
    with pytest.raises(SystemExit, match="--anew"):
        learn.keep_to_one_setting(tmp_path, settings | {"preset": {"steps": 4}})


def test_a_benchmark_that_does_not_exist_is_named() -> None:
    command = [sys.executable, "-m", "zoodip.bench", "lern"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "usage" in done.stderr and "learn" in done.stderr
