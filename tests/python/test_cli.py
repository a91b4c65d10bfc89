"""What the program says: help, inspect, progress, and a word used in a prompt."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
import zoodip
from PIL import Image
from program import QUICK, arguments, refuses


@pytest.fixture(scope="module")
def token(model, images, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("token") / "sks.safetensors"
    return zoodip.train(model, images, "sks", "dog", out, **QUICK).token


# --- help -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["train", "sample", "inspect"])
def test_every_command_has_help(run, command: str) -> None:
    overview, own = run(["--help"]), run([command, "--help"])
    assert overview.returncode == own.returncode == 0
    assert command in overview.stdout
    assert "--model" in own.stdout or "model" in own.stdout


def test_help_names_every_setting_with_its_range(run) -> None:
    text = re.sub(r"\s+", " ", run(["train", "--help"]).stdout)
    for setting in zoodip.settings():
        assert f"--{setting['name'].replace('_', '-')}" in text
        assert setting["help"] in text


def test_an_empty_command_is_a_usage_error(run) -> None:
    refuses(run([""]))


# --- inspect --------------------------------------------------------------------------------------


def test_inspect_says_what_a_checkpoint_is(run, model: Path) -> None:
    told = run(["inspect", str(model)])
    assert told.returncode == 0
    assert "Stable Diffusion 1.x, predicts epsilon" in told.stdout
    for part in ("unet", "text_encoder", "vae", "% of them in layers", "memory to expect"):
        assert part in told.stdout


def test_inspect_gives_the_same_as_json(run, model: Path) -> None:
    report = json.loads(run(["inspect", str(model), "--json", "--n", "4"]).stdout)
    assert report == json.loads(json.dumps(zoodip.inspect(model, n=4)))
    parts = [report["parts"][name] for name in ("unet", "text_encoder", "vae")]
    assert sum(part["parameters"] for part in parts) == report["parameters"]
    fewest, fewer, more = (zoodip.inspect(model, n=n)["memory"]["activations"] for n in (1, 4, 7))
    assert report["memory"]["activations"] == fewer
    assert more - fewer == fewer - fewest > 0  # some for each row, some for all


# --- progress -------------------------------------------------------------------------------------


def test_progress_has_step_loss_speed_and_time_left(run, model, images, tmp_path) -> None:
    told = run(arguments(model, images, tmp_path / "sks.safetensors"))
    assert told.returncode == 0 and told.stdout == ""
    last = [line for line in told.stderr.splitlines() if line.startswith("12/12")]
    assert len(last) == 1
    number = r"[\d.e+-]+"
    expected = rf"12/12  loss {number}  36 passes  {number} (it/s|s/it)  0 s left"
    assert re.fullmatch(expected, last[0])


def test_a_long_run_is_told_what_would_be_quicker(module_folder, model, images, tmp_path) -> None:
    words = arguments(model, images, tmp_path / "sks.safetensors", steps=10_000_000)
    with subprocess.Popen(
        [module_folder / "zoodip", *words], stderr=subprocess.PIPE, text=True
    ) as process:
        said = ""
        for line in process.stderr:
            said += line
            if re.match(r"\d+/10000000", line):
                process.send_signal(signal.SIGINT)
                break
        process.stderr.read()
    assert re.search(r"10000000 steps at \S+ s: about \d+ (h|days)", said)
    assert "That is long. Quicker: --steps 1000000 (about" in said


# --- sample ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", ["int8", "int4"])
def test_program_and_python_draw_the_same_with_a_word(run, model, token, tmp_path, weights) -> None:
    size = {"width": 64, "height": 64, "steps": 3, "seed": 4, "weights": weights}
    words = ["sample", "--model", model, "--prompt", "a photo of sks", "--out", tmp_path / "a.png"]
    for name, value in size.items():
        words += [f"--{name}", value]
    assert run([str(word) for word in [*words, "--token", token]]).returncode == 0
    drawn = np.asarray(Image.open(tmp_path / "a.png"))
    same = zoodip.sample(model, "a photo of sks", tokens=[token], threads=1, **size)
    without = zoodip.sample(model, "a photo of sks", **size)
    assert np.array_equal(drawn, np.asarray(same))
    assert not np.array_equal(drawn, np.asarray(without))


def test_what_stops_sampling_is_raised(model, monkeypatch) -> None:
    """Ctrl-C arrives as a signal whose Python handler raises; the engine looks at every step."""
    previous = signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        with pytest.raises(KeyboardInterrupt):
            zoodip.sample(model, "a dog", width=64, height=64, steps=999)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
