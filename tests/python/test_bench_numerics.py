"""The judging of types of products: its figures and its report."""

from __future__ import annotations

import json

import pytest
from safetensors import safe_open

from tests.bench.numerics import (
    COMPUTE,
    DEFAULT_MUS,
    MUS,
    Learning,
    correlation,
    mus_to_train_with,
    relative_error,
    report,
)
from tests.bench.spread import train


def test_figures_of_slopes() -> None:
    assert correlation([1.0, 2.0, 3.0], [2.0, 4.0, 6.0]) == pytest.approx(1.0)
    assert correlation([0.0, 0.0, 0.0], [2.0, 4.0, 6.0]) == 0.0
    assert relative_error([3.0, 8.0], [3.0, 4.0]) == pytest.approx(4 / 5)


def test_a_training_reaches_a_loss_when_it_is_first_below() -> None:
    run = Learning("fp32", 1e-3, 0, [(1.0, 30, 0.5), (2.0, 60, 0.3), (3.0, 90, 0.4)])
    assert run.until(0.35) == (2.0, 60)
    assert run.until(0.2) is None


def slopes(form: str) -> list[dict]:
    """Rows whose correlation rises with mu, so that the last is the best."""
    rows = []
    for compute in COMPUTE:
        for mu in MUS:
            row = {"compute": compute, "slope": form, "mu": mu, "integers": 0.957}
            rows.append(row | {"correlation": 20 * mu, "error": 1 - 20 * mu})
    return rows


def test_the_report_has_every_table() -> None:
    both = slopes("loss") + slopes("residual")
    assert mus_to_train_with(both) == {c: [DEFAULT_MUS[c], MUS[-1]] for c in COMPUTE}
    runs = [
        {"compute": compute, "mu": DEFAULT_MUS[compute], "seed": seed}
        | {"curve": [(12.25, 10, 0.2), (30.0, 40, 0.1)]}
        | {"seconds_to_target": 12.25 if seed else None, "steps_to_target": 10 if seed else None}
        for seed in range(2)
        for compute in COMPUTE
    ]
    results = {"command": "numerics", "machine": {"cores": 2}, "samples": 256, "steps": 40}
    results |= {"learning": {"start": 0.2, "target": 0.1038, "runs": runs}}
    text = report(results | {"slopes": both, "large": slopes("loss")})
    assert text.count("| int8 | loss |") == 3
    assert "| bf16 | residual | 0.02 | 0.06 | 0.1 | 0.2 | 0.4 | 0.8 |" in text
    # 40 and 10 steps: of both means the standard error is 15 / 25, of their ratio sqrt(2) of that.
    told = "not reached, 12.2 | not reached, 10 | 1.00 (0.85) | 30.0, 30.0 | 0.1000, 0.1000 |"
    assert f"| bf16 | 0.01, the default | {told}" in text
    assert "loss of 0.2000 to one of 0.1038" in text
    assert "95.7 % of the multiply-adds" in text
    assert "- cores: 2" in text


@pytest.mark.parametrize("compute", [c for c in COMPUTE if c != "int8"])
def test_the_default_mu_is_what_the_engine_takes(compute: str, tmp_path) -> None:
    out = tmp_path / "word.safetensors"
    train(out, compute=compute, steps=1)
    with safe_open(out, "pt") as file:
        settings = json.loads(file.metadata()["zoodip"])["settings"]
    assert settings["mu"] == DEFAULT_MUS[compute]
