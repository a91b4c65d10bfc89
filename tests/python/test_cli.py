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

from demo.model_file import FILES, FIRST


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
    expected = (
        rf"12/12  loss {number}  validation {number}( \(best\))?  36 passes  {number} (it/s|s/it)  "
        "0 s left"
    )
    assert re.fullmatch(expected, last[0])


def said_before_a_long_run(module_folder: Path, words: list[str]) -> str:
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
    return said


def test_a_long_run_is_told_what_would_be_quicker(module_folder, model, images, tmp_path) -> None:
    words = arguments(model, images, tmp_path / "sks.safetensors", steps=10_000_000)
    said = said_before_a_long_run(module_folder, words)
    assert re.search(r"10000000 steps at \S+ s: about \d+ (h|days)", said)
    assert "That is long. Quicker: --steps 1000000 (about" in said


def test_that_is_about_the_model_at_hand(module_folder, images, tmp_path) -> None:
    """The demo model is for 128 pixels: no smaller pictures are of use, and none larger quicker."""
    out = tmp_path / "sks.safetensors"
    words = arguments(FILES[FIRST].unpack(), images, out, steps=10_000_000, resolution=0)
    assert "Quicker: --steps 1000000" in said_before_a_long_run(module_folder, words)


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


LARGEST = (1 << 64) - 1


def test_a_seed_may_be_any_of_64_bits_or_drawn(run, model, tmp_path) -> None:
    small = {"width": 64, "height": 64, "steps": 1}

    def draw(seed: object) -> tuple[bytes, str]:
        words = ["sample", "--model", model, "--prompt", "x", "--out", tmp_path / f"{seed}.png"]
        for name, value in (small | {"seed": seed}).items():
            words += [f"--{name}", value]
        told = run([str(word) for word in words])
        assert told.returncode == 0, told.stderr
        return (tmp_path / f"{seed}.png").read_bytes(), told.stderr

    drawn, said = draw(-1)
    seed = int(re.search(r"^seed (\d+)$", said, re.MULTILINE).group(1))
    assert draw(seed)[0] == drawn
    assert draw(LARGEST)[0] != draw(0)[0]
    image = zoodip.sample(model, "x", seed=-1, **small)
    again = zoodip.sample(model, "x", seed=image.info["seed"], **small)
    assert image.tobytes() == again.tobytes()


@pytest.mark.parametrize("seed", ["-2", str(LARGEST + 1), "1.5", "abc"])
def test_other_seeds_are_refused_with_the_range(run, model, tmp_path, seed) -> None:
    words = ["sample", "--model", str(model), "--prompt", "x", "--out", str(tmp_path / "a.png")]
    says = f"seed: needs a whole number from 0 to {LARGEST}, or -1 for a random one, got"
    refuses(run([*words, f"--seed={seed}"]), says, folder=tmp_path)
    if seed.lstrip("-").isdigit():
        with pytest.raises(zoodip.Error, match=says):
            zoodip.sample(model, "x", seed=int(seed))


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--width", "-8", "needs a whole number from 0 to 4096, got '-8'"),
        ("--height", "tall", "needs a whole number from 0 to 4096, got 'tall'"),
        ("--steps", "1e400", "needs a whole number from 1 to 999, got '1e400'"),
        ("--guidance", "0.5", "needs a number from 1 to 100, got '0.5'"),
        ("--guidance", "nan", "needs a number from 1 to 100, got 'nan'"),
        ("--threads", "99999999999999999999", "needs a whole number from 0 to 1024, got"),
    ],
)
def test_ranges_are_written_as_people_write_them(run, option, value, says) -> None:
    told = run(["sample", "--model", "m", "--prompt", "x", "--out", "a.png", option, value])
    refuses(told, f"{option}: {says}")
    assert told.returncode == 2 and len(told.stderr) < 250


def test_one_token_needs_no_list(model, token) -> None:
    size = {"width": 64, "height": 64, "steps": 1}
    listed = zoodip.sample(model, "a photo of sks", tokens=[token], **size)
    for one in (token, str(token)):
        assert zoodip.sample(model, "a photo of sks", tokens=one, **size) == listed


# --- options as they are written ------------------------------------------------------------------


def test_what_to_change_is_named_as_it_is_typed(run, model, images, tmp_path) -> None:
    """The library names the setting, whoever asks; the program its option."""
    out = tmp_path / "a.safetensors"
    asked = {"model": model, "images": images, "word": "sks", "init": "dog", "out": out}
    with pytest.raises(zoodip.Error, match="A smaller `resolution`, `weights int4`") as error:
        zoodip.train(**asked, memory_limit=1)
    assert "--" not in str(error.value) and "`memory_limit` sets another" in str(error.value)
    words = [str(part) for name, value in asked.items() for part in (f"--{name}", value)]
    said = run(["train", *words, "--memory-limit", "1"]).stderr
    assert "A smaller --resolution, --weights int4 or" in said and "`" not in said
    assert "--memory-limit sets another limit" in said


def test_underscores_are_as_good(run, model, images, tmp_path) -> None:
    words = arguments(model, images, tmp_path / "sks.safetensors", learning_rate="0.25")
    spelt = [word.replace("--learning-rate", "--learning_rate") for word in words]
    assert spelt != words and run(spelt).returncode == 0
    made = zoodip.token_info(tmp_path / "sks.safetensors")["zoodip"]
    assert made["settings"]["learning_rate"] == 0.25
    joined = [*words[:-2], "--learning_rate=0.5", "--overwrite"]
    assert run(joined).returncode == 0


def test_an_option_that_is_given_twice_is_named(run) -> None:
    told = run(["train", "--model", "m", "--steps", "3", "--seed", "1", "--steps", "4"])
    refuses(told, "train: --steps is given twice; give it once")
    told = run(["sample", *["--prompt", "x"] * 3])
    refuses(told, "sample: --prompt is given 3 times; give it once")
    refuses(run(["train", "--out", "a", "--steps"]), "train: --steps needs a value")
    refuses(run(["train", "--steps", "--out", "a"]), "train: --steps needs a value")


OTHERS = {
    "lr": "learning_rate",
    "epochs": "steps",
    "iterations": "steps",
    "max_train_steps": "steps",
    "instance_data_dir": "images",
    "train_data_dir": "images",
    "pretrained_model": "model",
    "pretrained_model_name_or_path": "model",
    "placeholder_token": "word",
    "initializer_token": "init",
    "output": "out",
    "output_dir": "out",
    "batch_size": "batch",
    "train_batch_size": "batch",
    "save_steps": "checkpoint_every",
    "num_vectors": "vectors",
    "mixed_precision": "compute",
    "lr_scheduler": "learning_rate_schedule",
}


@pytest.mark.parametrize(("other", "ours"), OTHERS.items())
@pytest.mark.parametrize("spelt", ["as-options", "as_they_are"])
def test_other_trainers_names_suggest_ours(
    run, model, images, tmp_path, other, ours, spelt
) -> None:
    ours_here = ours.replace("_", "-")
    option = f"--{other}" if spelt == "as_they_are" else f"--{other.replace('_', '-')}"
    told = run(["train", option, "3"])
    refuses(told, f"did you mean '--{ours_here}'?")
    with pytest.raises(zoodip.Error, match=f"there is no '{other}'; did you mean '{ours}'"):
        zoodip.train(model, images, "sks", "dog", tmp_path / "s.safetensors", **{other: 3})


def test_names_that_nobody_means_get_no_guess(run) -> None:
    told = run(["train", "--enable-xformers-memory-efficient-attention"])
    refuses(told, "train: there is no option '--enable-xformers-memory-efficient-attention'")
    assert "did you mean" not in told.stderr
    refuses(run(["train", "-o", "a"]), "train: there is no option '-o'; did you mean '--out'?")
    refuses(run(["sample", "--cfg", "7"]), "did you mean '--guidance'?")


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
