"""The judging of types of products: its figures and its report."""

from __future__ import annotations

import pytest

from tests.bench.numerics import (
    COMPUTE,
    MUS,
    Learning,
    best_mus,
    correlation,
    relative_error,
    report,
)


def test_figures_of_slopes() -> None:
    assert correlation([1.0, 2.0, 3.0], [2.0, 4.0, 6.0]) == pytest.approx(1.0)
    assert correlation([0.0, 0.0, 0.0], [2.0, 4.0, 6.0]) == 0.0
    assert relative_error([3.0, 8.0], [3.0, 4.0]) == pytest.approx(4 / 5)


def test_a_training_reaches_a_loss_when_it_is_first_below() -> None:
    run = Learning("fp32", 1e-3, 0, [(1.0, 0.5), (2.0, 0.3), (3.0, 0.4)])
    assert run.seconds_to(0.35) == 2.0
    assert run.seconds_to(0.2) is None


def slopes(form: str) -> list[dict]:
    """Rows whose correlation rises with mu, so that the last is the best."""
    rows = []
    for compute in COMPUTE:
        for mu in MUS:
            row = {"compute": compute, "slope": form, "mu": mu, "integers": 0.957}
            rows.append(row | {"correlation": 40 * mu, "error": 1 - 40 * mu})
    return rows


def test_the_report_has_every_table() -> None:
    both = slopes("loss") + slopes("residual")
    assert best_mus(both) == dict.fromkeys(COMPUTE, MUS[-1])
    learning = [
        {"compute": compute, "mu": 1e-3, "seed": seed, "loss": 0.1, "seconds": 30.0}
        | {"target": 0.1038, "seconds_to_target": 12.25 if seed else None}
        for seed in range(2)
        for compute in COMPUTE
    ]
    results = {"command": "numerics", "machine": {"cores": 2}, "samples": 256, "steps": 40}
    text = report(results | {"slopes": both, "learning": learning, "large": slopes("loss")})
    assert text.count("| int8 | loss |") == 3
    assert "| bf16 | residual | 0.04 | 0.12 | 0.2 | 0.4 | 0.8 |" in text
    assert "| bf16 | 0.001 | not reached, 12.2 | 30.0, 30.0 | 0.1000, 0.1000 |" in text
    assert "loss of 0.1038" in text
    assert "95.7 % of the multiply-adds" in text
    assert "- cores: 2" in text
