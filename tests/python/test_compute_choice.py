"""What --compute auto takes: by timings of this machine, kept between processes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import zoodip
from program import QUICK, arguments

TYPES = ("fp32", "bf16", "int8")


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache, and nothing that says what to take."""
    monkeypatch.delenv("ZOODIP_COMPUTE", raising=False)
    monkeypatch.setenv("ZOODIP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "products.json"


@pytest.fixture
def inspect(run, model):
    """What `zoodip inspect` tells of a run with the settings of `arguments`, and with `words`."""
    quick = [part for name, value in QUICK.items() for part in option(name, value)]

    def ask(*words: str) -> dict:
        told = run(["inspect", str(model), "--json", *quick, *words])
        assert told.returncode == 0, told.stderr
        return json.loads(told.stdout)

    return ask


def option(name: str, value: object) -> list[str]:
    return ["--" + name.replace("_", "-"), str(value)]


def timed(cache: Path) -> dict[str, float]:
    """Of the first kind of step that was timed."""
    return next(iter(json.loads(cache.read_text()).values()))


def forge(cache: Path, seconds: dict[str, float]) -> None:
    cache.write_text(json.dumps({key: seconds for key in json.loads(cache.read_text())}))


def test_products_are_timed_once(inspect, cache):
    first = inspect()
    assert first["compute"] in TYPES
    before = timed(cache)
    assert set(before) <= set(TYPES) and all(seconds > 0 for seconds in before.values())
    for name in before:
        assert f" in {name}" in first["compute_choice"]
    stamp = cache.stat().st_mtime_ns
    assert inspect()["compute_choice"] == first["compute_choice"]
    assert cache.stat().st_mtime_ns == stamp and timed(cache) == before


@pytest.mark.parametrize("quickest", TYPES)
def test_the_quickest_is_taken_and_said_everywhere(
    run, inspect, model, images, cache, tmp_path, quickest
):
    inspect()
    if quickest not in timed(cache):
        pytest.skip(f"this processor has no products in {quickest}")
    # Ten times: more than the steps that coarse slopes cost.
    forge(cache, {name: 0.01 if name == quickest else 0.1 for name in timed(cache)})
    told = inspect()
    assert told["compute"] == quickest
    reason = told["compute_choice"]
    assert reason.startswith(f"compute auto takes {quickest}: ") and "10 ms" in reason
    out = tmp_path / "sks.safetensors"
    trained = run(arguments(model, images, out))
    assert trained.returncode == 0 and reason in trained.stderr, trained.stderr
    made = zoodip.token_info(out)["zoodip"]
    assert (made["settings"]["compute"], made["compute_choice"]) == (quickest, reason)
    assert reason in run(["token", "info", str(out)]).stdout


def test_the_exact_gradient_has_no_integers(inspect, cache):
    told = inspect("--method", "exact")
    assert told["compute"] in ("fp32", "bf16") and set(timed(cache)) == {"fp32", "bf16"}


def test_threads_and_shapes_are_timed_apart(run, model, cache):
    for words in (["--threads", "1"], ["--threads", "2"], ["--threads", "1", "--n", "7"]):
        assert run(["inspect", str(model), *words]).returncode == 0
    assert len(json.loads(cache.read_text())) == 3


def test_a_word_settles_it(inspect, cache, monkeypatch):
    monkeypatch.setenv("ZOODIP_COMPUTE", "bf16")
    told = inspect()
    assert told["compute"] == "bf16" and "ZOODIP_COMPUTE" in told["compute_choice"]
    assert not cache.exists()


def test_a_wrong_word_is_refused(run, model, cache, monkeypatch):
    monkeypatch.setenv("ZOODIP_COMPUTE", "fast")
    told = run(["inspect", str(model)])
    assert told.returncode == 1 and "fast" in told.stderr


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 1}', '{"a": {"fp32": "x"}}'])
def test_damaged_timings_are_made_again(inspect, cache, text):
    cache.parent.mkdir()
    cache.write_text(text)
    assert inspect()["compute"] in TYPES
    assert json.loads(cache.read_text())


@pytest.mark.parametrize("wrong", [-1, 0, "x", None, True])
def test_a_timing_that_is_none_is_made_again(inspect, cache, wrong):
    inspect()
    forge(cache, {**timed(cache), "fp32": wrong})
    inspect()
    assert timed(cache)["fp32"] > 0 and timed(cache)["fp32"] is not True


def test_a_cache_that_cannot_be_written_is_done_without(inspect, cache):
    cache.parent.write_text("a file where the folder should be")
    assert inspect()["compute"] in TYPES


def test_what_is_given_is_not_timed(inspect, cache):
    told = inspect("--compute", "bf16")
    assert (told["compute"], told["compute_choice"]) == ("bf16", "")
    assert inspect("--weights", "dense")["compute"] == "fp32"
    assert not cache.exists()


def test_a_stopped_run_goes_on_with_what_it_took(run, inspect, model, images, cache, tmp_path):
    inspect()
    forge(cache, {name: 0.01 if name == "bf16" else 0.1 for name in timed(cache)})
    out = tmp_path / "sks.safetensors"
    chosen = {"steps": 4, "checkpoint_every": 2}
    assert run(arguments(model, images, out, **chosen)).returncode == 0
    forge(cache, {name: 0.01 if name == "fp32" else 0.1 for name in timed(cache)})
    more = run([*arguments(model, images, out, **{**chosen, "steps": 6}), "--resume"])
    assert more.returncode == 0, more.stderr
    assert zoodip.token_info(out)["zoodip"]["settings"]["compute"] == "bf16"


def test_nothing_is_left_of_the_random_numbers(model, cache):
    import torch

    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    zoodip.inspect(model)
    assert torch.equal(torch.rand(3), expected)
    assert os.path.exists(cache)
