"""The program and the Python function, from pictures to a token file."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import threading
import time

import pytest
import torch
import zoodip
from PIL import Image
from program import QUICK, arguments, refuses
from safetensors import safe_open
from safetensors.torch import load_file, save_file


@pytest.fixture
def train(run, model, images, tmp_path):
    def call(**chosen) -> subprocess.CompletedProcess:
        words = {"model": model, "images": images, "out": tmp_path / "sks.safetensors"}
        words |= {name: chosen.pop(name) for name in list(chosen) if name in words}
        return run(arguments(**words, **chosen))

    return call


# ---------------------------------------------------------------------------- what it makes


def test_makes_a_token_file_that_embedding_readers_take(train, tmp_path):
    result = train()
    assert result.returncode == 0, result.stderr
    assert re.search(r"12 steps at .* s: about", result.stderr)
    left = sorted(p.name for p in tmp_path.iterdir())
    # The state is there for a run of more steps.
    assert left == ["sks.best.safetensors", "sks.safetensors", "sks.state.safetensors"]
    token = load_file(tmp_path / "sks.safetensors")
    assert list(token) == ["clip_l"]
    assert token["clip_l"].shape == (1, 64)
    assert token["clip_l"].dtype == torch.float32
    with safe_open(tmp_path / "sks.safetensors", "pt") as file:
        made = json.loads(file.metadata()["zoodip"])
    assert made["word"] == "sks"
    assert made["settings"]["steps"] == 12
    captions = [p["captions"] for p in made["pictures"]]
    assert captions[1] == ["a photo of a {} in front of a wall"]
    assert captions[0] == captions[2] and "a photo of a {}" in captions[0]  # the templates


def test_same_seed_same_bytes(train, tmp_path):
    files = [tmp_path / f"{i}.safetensors" for i in range(3)]
    for file, seed in zip(files, (1, 1, 2), strict=True):
        assert train(out=file, seed=seed).returncode == 0
    assert files[0].read_bytes() == files[1].read_bytes()
    assert not torch.equal(load_file(files[0])["clip_l"], load_file(files[2])["clip_l"])


def test_python_and_program_make_the_same_word(train, model, images, tmp_path):
    assert train(weights="int8").returncode == 0
    steps, forecasts, stages = [], [], []
    result = zoodip.train(
        model,
        images,
        "sks",
        "dog",
        tmp_path / "other.safetensors",
        on_stage=stages.append,
        on_forecast=lambda seconds, left: forecasts.append((seconds, left)),
        on_step=lambda step, total, loss, smooth: steps.append((step, total, loss)),
        **QUICK,
    )
    assert result.finished
    assert result.steps == 12
    assert [s[:2] for s in steps] == [(i, 12) for i in range(1, 13)]
    assert len(forecasts) == 1
    assert forecasts[0][1] == 12
    assert "loading the UNet" in stages
    assert (tmp_path / "other.safetensors").read_bytes() == (
        tmp_path / "sks.safetensors"
    ).read_bytes()


@pytest.mark.parametrize(
    "chosen", [{"compute": "bf16"}, {"weights": "dense"}, {"weights": "int4"}, {"n": 4}], ids=str
)
def test_other_settings_train_too(train, chosen):
    assert train(**chosen).returncode == 0


# ----------------------------------------------------------------------- stopping and going on


def stop_after(step: int, words: dict) -> zoodip.TrainResult:
    cancel = zoodip.CancelToken()
    return zoodip.train(
        **words,
        on_step=lambda done, *_: cancel.cancel() if done == step else None,
        cancel=cancel,
        **QUICK,
    )


@pytest.mark.parametrize("stop", [1, 4, 7, 11])
def test_a_resumed_run_has_the_bytes_of_the_unbroken_one(train, model, images, tmp_path, stop):
    assert train(out=tmp_path / "unbroken.safetensors").returncode == 0
    words = {"model": model, "images": images, "word": "sks", "init": "dog"}
    words["out"] = tmp_path / "sks.safetensors"
    result = stop_after(stop, words)
    assert not result.finished
    assert result.steps == stop
    assert (tmp_path / "sks.state.safetensors").stat().st_size < 20_000
    resumed = zoodip.train(**words, resume=True, **QUICK)
    assert resumed.finished
    assert (tmp_path / "sks.safetensors").read_bytes() == (
        tmp_path / "unbroken.safetensors"
    ).read_bytes()


def test_a_stopped_run_is_not_forgotten_by_accident(train, model, images, tmp_path):
    words = {"model": model, "images": images, "word": "sks", "init": "dog"}
    stop_after(6, words | {"out": tmp_path / "sks.safetensors"})
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    refuses(train(), "holds a stopped run", "--resume", "--overwrite")
    refuses(train(resume=True, seed=9), "settings.seed was 0, now 9")
    refuses(train(resume=True, init="cat"), 'initialiser was "dog", now "cat"')
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
    assert train(overwrite=True).returncode == 0


def test_another_model_is_another_run(train, model, images, tmp_path):
    words = {"model": model, "images": images, "word": "sks", "init": "dog"}
    stop_after(6, words | {"out": tmp_path / "sks.safetensors"})
    weights = load_file(model)
    name = "model.diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_q.weight"
    weights[name] = weights[name] * 1.01  # as a merged LoRA would
    save_file(weights, tmp_path / "other.safetensors")
    refuses(train(resume=True, model=tmp_path / "other.safetensors"), "model was")


def test_interrupt_stops_and_keeps(module_folder, run, model, images, tmp_path):
    words = arguments(model, images, tmp_path / "sks.safetensors", steps=1_000_000)
    with subprocess.Popen(
        [module_folder / "zoodip", *words], stderr=subprocess.PIPE, text=True
    ) as process:
        for line in process.stderr:
            if re.match(r"\d+/1000000", line):
                process.send_signal(signal.SIGINT)
                break
        rest = process.stderr.read()
    assert process.returncode == 130
    step = int(re.search(r"stopped at step (\d+)", rest).group(1))
    assert "--resume goes on" in rest
    state = safe_open(tmp_path / "sks.state.safetensors", "pt").metadata()
    assert int(state["step"]) == step
    assert load_file(tmp_path / "sks.safetensors")["clip_l"].isfinite().all()
    assert not list(tmp_path.glob("*.tmp"))


def test_a_killed_run_goes_on_from_its_checkpoint(module_folder, run, model, images, tmp_path):
    out, state = tmp_path / "sks.safetensors", tmp_path / "sks.state.safetensors"
    # Longer than the wait for the state to appear; what counts is which step the state holds.
    words = arguments(model, images, out, steps=200)
    process = subprocess.Popen([module_folder / "zoodip", *words], stderr=subprocess.DEVNULL)
    while not state.exists() and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    process.wait()
    if not state.exists():
        pytest.fail("the run ended before it could be killed")
    assert run([*words, "--resume"]).returncode == 0
    whole = arguments(model, images, tmp_path / "whole.safetensors", steps=200)
    assert run(whole).returncode == 0
    assert out.read_bytes() == (tmp_path / "whole.safetensors").read_bytes()


def test_an_exception_in_a_callback_keeps_what_was_learned(model, images, tmp_path):
    class Stop(Exception):
        pass

    def on_step(step, *_):
        if step == 3:
            raise Stop

    out = tmp_path / "sks.safetensors"
    with pytest.raises(Stop):
        zoodip.train(model, images, "sks", "dog", out, on_step=on_step, **QUICK)
    assert out.exists()
    assert zoodip.train(model, images, "sks", "dog", out, resume=True, **QUICK).steps == 12


def test_the_gil_is_free_during_a_run(model, images, tmp_path):
    """Another thread wakes as the UNet starts to load and must have run before it is loaded."""
    loading, ran, loaded = threading.Event(), [], []

    def wait_and_run():
        loading.wait()
        ran.append(True)

    def on_stage(stage):
        if stage == "loading the UNet":
            loading.set()  # the thread is woken, but has to wait for the GIL
        if stage == "timing one step":
            loaded.append(bool(ran))

    thread = threading.Thread(target=wait_and_run)
    thread.start()
    try:
        out = tmp_path / "sks.safetensors"
        zoodip.train(model, images, "sks", "dog", out, on_stage=on_stage, **QUICK)
    finally:
        loading.set()
        thread.join()
    assert loaded == [True]


def test_runs_inside_inference_mode(model, images, tmp_path):
    with torch.inference_mode():
        result = zoodip.train(model, images, "sks", "dog", tmp_path / "s.safetensors", **QUICK)
    assert result.finished


def test_global_random_state_is_left_alone(model, images, tmp_path):
    before = torch.random.get_rng_state()
    zoodip.train(model, images, "sks", "dog", tmp_path / "s.safetensors", **QUICK)
    assert torch.equal(torch.random.get_rng_state(), before)


# --------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("chosen", "parts"),
    [
        ({"steps": -1}, ["steps: needs a whole number from 0 to 10000000, got -1"]),
        ({"mu": 2}, ["mu: needs a number from 0 to 1, got 2"]),
        ({"mu": "1e-9"}, ["mu: needs at least 1e-08, or 0 for the default, got 1e-09"]),
        ({"tau": 1}, ["tau: needs at least 2, or 0 for the default, got 1"]),
        ({"resolution": 56}, ["resolution: needs at least 64, or 0 for the default, got 56"]),
        ({"n": 0}, ["n: needs a whole number from 1 to 64, got 0"]),
        ({"mu": "nan"}, ["--mu: 'nan' is not a number"]),
        ({"steps": "1.5"}, ["steps: needs a whole number"]),
        ({"subspace": "maybe"}, ["--subspace: 'maybe' is not on or off"]),
        ({"weights": "int3"}, ["needs one of int8, int4, dense; got 'int3'"]),
        ({"t_lower": 900}, ["t_lower: needs to be below t_upper"]),
        ({"resolution": 72}, ["multiples of 32", "72 x 72"]),
        ({"word": "two words"}, ["cannot name the new token"]),
        ({"word": "1.5"}, ["cannot name the new token"]),
        ({"init": "wobbly teapot"}, ["'wobbly' is 2 tokens (wo, bbly)", "plainer word"]),
        ({"init": "keyring"}, ["is 2 tokens (key, ring)"]),
        ({"caption": "a photo"}, ["caption: 'a photo' does not contain the word"]),
        ({"caption": "{} " + "very " * 80}, ["has 81 tokens; the text encoder takes 75"]),
        ({"device": "cuda"}, ["device cuda", "--device cpu"]),
    ],
    ids=str,
)
def test_bad_settings(train, tmp_path, chosen, parts):
    if chosen.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("this machine has a GPU, so --device cuda is no mistake")
    refuses(train(**chosen), *parts, folder=tmp_path)


def test_an_ordinary_word_gets_a_warning(train):
    result = train(word="house")
    assert result.returncode == 0
    assert "'house' is an ordinary word" in result.stderr


@pytest.mark.parametrize(("word", "initialiser"), [("puffy", "puffy"), ("Puffy", "dog, puffy")])
def test_a_word_that_starts_from_itself_gets_a_warning(train, word, initialiser):
    """Rare enough to be a name, were it not what the subject is called."""
    assert f"'{word}' is an ordinary word" in train(word=word, init=initialiser).stderr


@pytest.mark.parametrize("word", ["sks", "ohwx", "zwx", "puffy"])
def test_a_rare_word_gets_none(train, word):
    assert "ordinary" not in train(word=word).stderr


def test_usage_errors(run):
    refuses(run(["train"]), "--model is required")
    refuses(run(["trian"]), "there is no command 'trian'; did you mean 'train'?")
    refuses(run(["inspect", "model.safetensors", "--stepz", "3"]), "--stepz")
    refuses(run([]), "a command is needed")


def test_files_that_are_not_there(train, tmp_path):
    refuses(train(model=tmp_path / "no.safetensors"), "model: there is no", folder=tmp_path)
    refuses(train(images=tmp_path / "no"), "images: there is no folder", folder=tmp_path)
    refuses(train(images=tmp_path), "holds no pictures (.jpg, .jpeg", folder=tmp_path)
    refuses(train(out=tmp_path / "no" / "s.safetensors"), "does not exist. Create it")
    refuses(train(out=tmp_path / "sks.pt"), "needs the ending .safetensors")
    refuses(train(resume=True), "there is no stopped run", folder=tmp_path)


def test_bad_pictures(train, images, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "a.png").write_text("not a picture")
    refuses(train(images=folder), "a.png", "not a picture")
    good = (images / "0.png").read_bytes()
    (folder / "a.png").write_bytes(good[: len(good) // 2])
    refuses(train(images=folder), "a.png", "cut off")
    # 60000 x 60000: the size in the header is enough, there are no pixels to decode.
    header = bytearray(good)
    header[16:24] = (60000).to_bytes(4, "big") * 2
    import zlib

    header[29:33] = zlib.crc32(bytes(header[12:29])).to_bytes(4, "big")
    (folder / "a.png").write_bytes(header)
    refuses(train(images=folder), "a.png", "60000 x 60000", "megapixels")
    (folder / "a.png").write_bytes(good)
    (folder / "a.txt").write_text("a photo without it")
    refuses(train(images=folder), "a.txt", "does not contain the word")
    (folder / "a.txt").write_text("a {} of one pixel")
    Image.new("RGB", (1, 1), (9, 9, 9)).save(folder / "a.png")
    refuses(train(images=folder), "a.png", "1 x 1 pixels", "needs 8 a side")


def test_bad_models(train, model, tmp_path):
    path = tmp_path / "model.safetensors"
    whole = model.read_bytes()
    path.write_bytes(whole[: len(whole) - 100])
    refuses(train(model=path), "model.safetensors", "is truncated")
    path.write_bytes(b"PK\x03\x04" + bytes(100))
    refuses(train(model=path), "is a Python pickle")
    path.write_bytes(b"GGUF" + bytes(100))
    refuses(train(model=path), "is a GGUF file")
    save_file({"lora_unet_x.lora_down.weight": torch.zeros(2, 2)}, path)
    refuses(train(model=path), "is a LoRA")
    weights = load_file(model)
    name = "model.diffusion_model.middle_block.0.in_layers.2.weight"
    weights[name][0, 0, 0, 0] = float("nan")
    save_file(weights, path)
    refuses(train(model=path), "middle_block.0.in_layers.2.weight' holds NaN or infinity")
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]


def test_an_earlier_token_is_not_lost(train, tmp_path):
    (tmp_path / "sks.safetensors").write_bytes(b"earlier")
    refuses(train(), "exists: name another --out, or add --overwrite")
    refuses(train(overwrite=True, steps=-1), "steps")
    assert (tmp_path / "sks.safetensors").read_bytes() == b"earlier"


def test_a_full_disk(module_folder, model, images, tmp_path):
    """A limit on the size of files stands in for it: writes beyond it fail."""

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    words = arguments(model, images, tmp_path / "sks.safetensors")
    result = subprocess.run(
        [module_folder / "zoodip", *words], capture_output=True, text=True, preexec_fn=limit
    )
    refuses(result, "cannot write", "sks.safetensors", folder=tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(train, tmp_path):
    tmp_path.chmod(0o500)
    refuses(train(), "Permission denied")


def test_python_raises_what_the_program_prints(model, images, tmp_path):
    with pytest.raises(zoodip.Error, match="did you mean 'steps'"):
        zoodip.train(model, images, "sks", "dog", tmp_path / "s.safetensors", stepz=3)
    names = [setting["name"] for setting in zoodip.settings()]
    assert len(names) == len(set(names)) > 15
    assert zoodip.inspect(model)["family"] == "Stable Diffusion 1.x"


@pytest.mark.parametrize("name", ["out.0.bias", "input_blocks.1.1.transformer_blocks.0.norm1.bias"])
def test_a_norm_of_the_wrong_size_is_refused(train, model, tmp_path, name):
    weights = load_file(model)
    name = f"model.diffusion_model.{name}"
    weights[name] = weights[name][:-1].clone()
    save_file(weights, tmp_path / "odd.safetensors")
    refuses(train(model=tmp_path / "odd.safetensors"), name, "expected [")


def test_python_numbers_that_are_not_finite_are_refused(model, images, tmp_path):
    for value in (float("nan"), float("inf"), [1], None):
        with pytest.raises(zoodip.Error, match="mu: needs a finite number"):
            zoodip.train(model, images, "sks", "dog", tmp_path / "sks.safetensors", mu=value)
    assert not list(tmp_path.iterdir())


def test_the_model_is_not_written_over(train, model, tmp_path):
    copy = tmp_path / "model.safetensors"
    copy.write_bytes(model.read_bytes())
    refuses(train(model=copy, out=copy, overwrite=True), "is the model itself", "--out")
    assert copy.read_bytes() == model.read_bytes()


@pytest.mark.parametrize("word", ["house", "scarecrow", "teapot"])
def test_warnings_reach_pythons_logging(model, images, tmp_path, caplog, word):
    zoodip.train(model, images, word, "dog", tmp_path / "word.safetensors", **QUICK)
    assert [r.name for r in caplog.records] == ["zoodip"]
    assert f"'{word}' is an ordinary word" in caplog.text
