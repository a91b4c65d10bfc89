"""What is on the disk stays: no output is written over something else, by one run or by two."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
import zoodip
from gated import GatedRun
from PIL import Image
from program import QUICK, arguments, refuses
from safetensors import safe_open


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A token file in a folder of its own."""
    folder = tmp_path / "out"
    folder.mkdir()
    return folder / "sks.safetensors"


@pytest.fixture
def mine(model: Path, images: Path, tmp_path: Path) -> dict[str, Path]:
    """A model and pictures that a test may spoil."""
    pictures = Path(shutil.copytree(images, tmp_path / "pictures"))
    copy = Path(shutil.copyfile(model, tmp_path / "model.safetensors"))
    return {"model": copy, "images": pictures}


@pytest.fixture
def train(run, mine, out):
    """The program on the test's own model and pictures."""

    def call(**chosen) -> subprocess.CompletedProcess:
        words = mine | {"out": out}
        words |= {name: chosen.pop(name) for name in list(chosen) if name in words}
        return run(arguments(**words, **chosen))

    return call


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def step_of(file: Path) -> int:
    with safe_open(file, "pt") as opened:
        return int(opened.metadata()["step"])


def sample_words(model: Path, out: Path, *more: object) -> list[str]:
    words = ["sample", "--model", model, "--prompt", "a dog", "--out", out]
    words += ["--width", 64, "--height", 64, "--steps", 1, "--threads", 1, *more]
    return [str(word) for word in words]


# ------------------------------------------------------------------------- what is there already


def test_a_file_that_is_there_is_no_log(train, out, tmp_path):
    photo = tmp_path / "photo.png"
    photo.write_bytes(b"a photograph")
    refuses(train(log=photo), "log:", str(photo), "exists", "--overwrite", folder=out.parent)
    assert photo.read_bytes() == b"a photograph"
    assert train(log=photo, overwrite=True).returncode == 0
    assert json.loads(photo.read_text().splitlines()[0])["event"] == "start"


def test_a_picture_that_is_there_is_not_sampled_over(run, model, tmp_path):
    picture = tmp_path / "a.png"
    picture.write_bytes(b"a photograph")
    refuses(run(sample_words(model, picture)), "a.png exists", "--overwrite")
    assert picture.read_bytes() == b"a photograph"
    assert run(sample_words(model, picture, "--overwrite")).returncode == 0
    assert Image.open(picture).size == (64, 64)


def test_a_picture_that_is_there_is_no_preview(train, out, tmp_path):
    folder = tmp_path / "drawn"
    folder.mkdir()
    for name in ("000005.png", "000007.png", "mine.png"):
        (folder / name).write_bytes(b"a photograph")
    before = contents(folder)
    told = train(previews=folder, preview_every=5)
    refuses(told, "previews:", "000005.png exists", "--overwrite", folder=out.parent)
    assert contents(folder) == before
    assert train(previews=folder, preview_every=5, overwrite=True).returncode == 0
    after = contents(folder)
    assert set(after) == set(before) | {"000010.png"}
    assert [name for name in before if after[name] != before[name]] == ["000005.png"]


# ------------------------------------------------------------------------------ what is never lost


@pytest.fixture(scope="module")
def learned(model: Path, images: Path, tmp_path_factory) -> Path:
    """A word of an earlier run."""
    out = tmp_path_factory.mktemp("learned") / "like.safetensors"
    return zoodip.train(model, images, "sks", "dog", out, **QUICK).token


@pytest.mark.parametrize("how", ["itself", "hard", "soft", "dotted"])
@pytest.mark.parametrize(
    ("option", "name"),
    [
        ("log", "model.safetensors"),
        ("log", "pictures/0.png"),
        ("log", "pictures/1.txt"),
        ("log", "like.safetensors"),
        ("out", "model.safetensors"),
        ("out", "like.safetensors"),
    ],
)
def test_no_input_is_written_over(train, mine, out, tmp_path, learned, option, name, how):
    like = Path(shutil.copyfile(learned, tmp_path / "like.safetensors"))
    link = tmp_path / f"link{Path(name).suffix}"
    if how == "hard":
        os.link(tmp_path / name, link)
    elif how == "soft":
        link.symlink_to(tmp_path / name)
    named = {"itself": tmp_path / name, "dotted": f"{tmp_path}/./{name}"}.get(how, link)
    before = contents(tmp_path)
    told = train(**{option: named}, like=like, overwrite=True)
    refuses(told, f"{option}: {named}", f"name another --{option}", folder=out.parent)
    assert contents(tmp_path) == before


def test_what_would_become_an_input_is_not_written(train, mine, out):
    """A caption, or another picture: the run could not be gone on with."""
    pictures = mine["images"]
    (pictures / "10_sks").mkdir()
    before = contents(pictures)
    for chosen in (
        {"log": pictures / "0.txt"},
        {"log": pictures / "metadata.jsonl"},
        {"previews": pictures, "preview_every": 5},
        {"previews": f"{pictures}/./", "preview_every": 5},
        {"previews": pictures / "10_sks", "preview_every": 5},
    ):
        told = train(**chosen, overwrite=True)
        refuses(told, "is part of the training pictures", folder=out.parent)
    assert contents(pictures) == before
    assert train(out=pictures / "sks.safetensors", preview_every=5).returncode == 0
    assert train(out=pictures / "sks.safetensors", overwrite=True).returncode == 0


def test_nothing_is_written_into_a_model_s_folder(run, images, tmp_path):
    from make_checkpoint import write_diffusers_folder

    folder = tmp_path / "parts"
    write_diffusers_folder(folder, "tiny", seed=3)
    before = contents(folder)
    weights = next(folder.glob("unet/*.safetensors"))
    for out in (weights, folder / "new.safetensors"):
        told = run(arguments(folder, images, out, overwrite=True))
        refuses(told, "is part of the model", "name another --out")
    link = tmp_path / "link.log"
    os.link(weights, link)
    log = {"log": link, "overwrite": True}
    refuses(run(arguments(folder, images, tmp_path / "a.safetensors", **log)), "part of the model")
    assert contents(folder) == before


def test_a_word_of_the_prompt_is_not_sampled_over(run, model, images, tmp_path):
    token = tmp_path / "sks.safetensors"
    zoodip.train(model, images, "sks", "dog", token, **QUICK)
    link = tmp_path / "sks.png"
    link.symlink_to(token)
    told = run(sample_words(model, link, "--token", token, "--overwrite"))
    refuses(told, "is a token of the prompt itself")


@pytest.mark.parametrize(
    "name", ["sks.safetensors", "./sks.safetensors", "sks.best.safetensors", "link"]
)
def test_no_two_outputs_are_one_file(train, out, name):
    (out.parent / "link").symlink_to("sks.safetensors")
    log = f"{out.parent}/{name}"
    told = train(log=log, overwrite=True)
    refuses(told, "log: ", "is what --out writes: name another --log")
    assert os.listdir(out.parent) == ["link"]


# -------------------------------------------------------------------------------- going on


def stop_after(step: int, mine: dict, out: Path, **chosen) -> zoodip.TrainResult:
    cancel = zoodip.CancelToken()
    return zoodip.train(
        **mine,
        word="sks",
        init="dog",
        out=out,
        on_step=lambda done, *_: cancel.cancel() if done == step else None,
        cancel=cancel,
        **QUICK,
        **chosen,
    )


def test_a_run_goes_on_with_its_own_log_and_no_other(train, mine, out, tmp_path):
    logs = [tmp_path / f"{seed}.jsonl" for seed in (1, 2)]
    assert train(log=logs[0], seed=1, out=tmp_path / "other.safetensors").returncode == 0
    stop_after(6, mine, out, log=logs[1], seed=2)
    first = [log.read_bytes() for log in logs]
    told = train(log=logs[0], seed=2, resume=True)
    refuses(told, "log:", "1.jsonl exists", "name another --log")
    assert [log.read_bytes() for log in logs] == first
    assert train(log=logs[1], seed=2, resume=True).returncode == 0
    assert logs[1].read_bytes().startswith(first[1])
    assert logs[1].read_text().count('"event":"start"') == 2


def test_a_run_goes_on_with_its_own_previews_and_no_others(train, mine, out, tmp_path):
    folder = tmp_path / "drawn"
    chosen = {"previews": folder, "preview_every": 4}
    stop_after(5, mine, out, **chosen)
    (folder / "000008.png").write_bytes(b"a photograph")
    refuses(train(resume=True, **chosen), "previews:", "000008.png exists")
    Image.new("RGB", (8, 8)).save(folder / "000008.png")
    refuses(train(resume=True, **chosen), "previews:", "000008.png exists")
    (folder / "000008.png").unlink()
    assert train(resume=True, **chosen).returncode == 0
    assert sorted(os.listdir(folder)) == ["000004.png", "000008.png", "000012.png"]


# ---------------------------------------------------------------------------------- one at a time


@pytest.fixture
def going(module_folder, mine, out, tmp_path):
    """A run that is under way until the test is over."""
    words = arguments(**mine, out=out, steps=100_000, previews=tmp_path / "drawn", preview_every=1)
    run = GatedRun(module_folder / "zoodip", words, tmp_path)
    run.until("checkpoint", 5)
    yield run
    if run.process.poll() is None:
        run.process.kill()
        run.process.wait()
    with suppress(OSError):  # one that was finished is closed
        run.close()


def test_a_second_run_is_refused_by_name(train, run, going, out, tmp_path):
    who = rf"another run writes \S+ \(process {going.process.pid}, zoodip train, since 20\S+ \S+\)"
    for chosen in ({}, {"overwrite": True}, {"resume": True}, {"seed": 5, "overwrite": True}):
        told = train(steps=100_000, **chosen)
        refuses(told, "out: ", "wait for it or stop it, or name another --out")
        assert re.search(who, told.stderr)
    refuses(train(out=out.with_suffix(".best.safetensors"), overwrite=True), "another run writes")
    other = {"out": tmp_path / "other.safetensors", "overwrite": True}
    told = train(previews=tmp_path / "drawn", preview_every=5, **other)
    refuses(told, "previews: another run writes", "name another --previews")
    convert = ["token", "convert", out, "--to", "a1111", "--out", out, "--overwrite"]
    refuses(run([str(word) for word in convert]), "out: another run writes")
    going.process.send_signal(signal.SIGTERM)
    assert going.finish() == 128 + signal.SIGTERM
    assert step_of(out) >= 5
    assert not list(tmp_path.rglob("*.lock"))


def test_the_lock_of_a_killed_run_is_free(train, going, out, tmp_path):
    going.process.kill()
    going.process.wait()
    assert out.with_name("sks.safetensors.lock").exists()
    chosen = {"previews": tmp_path / "drawn", "preview_every": 1, "overwrite": True}
    assert train(**chosen).returncode == 0
    assert not list(tmp_path.rglob("*.lock"))


def test_a_log_is_one_run_s(train, mine, out, tmp_path):
    """Within one process, too."""
    log = tmp_path / "log.jsonl"
    refused = []

    def on_step(step: int, *_: object) -> None:
        if step == 3:
            other = tmp_path / "other.safetensors"
            with pytest.raises(zoodip.Error, match="log: another run writes") as told:
                zoodip.train(
                    **mine, word="sks", init="dog", out=other, log=log, overwrite=True, **QUICK
                )
            refused.append(str(told.value))

    zoodip.train(**mine, word="sks", init="dog", out=out, log=log, on_step=on_step, **QUICK)
    assert len(refused) == 1 and f"process {os.getpid()}" in refused[0]
    assert log.read_text().count('"event":"start"') == 1


# ------------------------------------------------------------------------------ before it is late


def test_a_name_that_is_too_long_is_refused_before_the_first_step(train, out):
    """Whether it is depends on the longest name that the run will write."""
    refused = []
    for length in range(190, 245, 3):
        told = train(out=out.with_name("y" * length + ".safetensors"), overwrite=True, steps=6)
        refused.append(told.returncode != 0)
        assert ("training" in told.stderr) != refused[-1], told.stderr
        if refused[-1]:
            refuses(told, "File name too long")
    assert refused == sorted(refused) and refused[-1] and not refused[0]


def test_a_folder_that_cannot_be_made_is_refused_before_the_first_step(train, out, tmp_path):
    (tmp_path / "file").write_text("x")
    for folder in (tmp_path / "file" / "drawn", tmp_path / "file", Path("/proc/drawn")):
        told = train(previews=folder, preview_every=5)
        refuses(told, "previews:", folder=out.parent)
        assert "training" not in told.stderr


def test_nothing_is_left_of_a_run_that_is_refused(train, out, tmp_path):
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"x" * 100)
    folder = tmp_path / "deep" / "drawn"
    told = train(model=broken, log=tmp_path / "log", previews=folder, preview_every=5)
    refuses(told, "broken.safetensors", folder=out.parent)
    assert not (tmp_path / "deep").exists() and not (tmp_path / "log").exists()


# ------------------------------------------------------------------------------------ endings


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_stop_and_keep(module_folder, mine, out, tmp_path, number):
    words = arguments(**mine, out=out, steps=100_000, checkpoint_every=100_000)
    run = GatedRun(module_folder / "zoodip", words, tmp_path)
    run.until("step", 3)
    run.process.send_signal(number)
    assert run.finish() == 128 + number
    assert step_of(out) == step_of(out.with_suffix(".state.safetensors")) >= 3
    assert sorted(os.listdir(out.parent)) == ["sks.safetensors", "sks.state.safetensors"]


def test_a_hangup_that_is_to_be_ignored_is(module_folder, mine, out, tmp_path):
    """As nohup has it."""
    words = ["-c", 'trap "" HUP; exec "$0" "$@"', str(module_folder / "zoodip")]
    run = GatedRun(Path("/bin/sh"), words + arguments(**mine, out=out, steps=200), tmp_path)
    run.until("step", 3)
    run.process.send_signal(signal.SIGHUP)
    assert run.finish() == 0
    assert step_of(out) == 200


def test_a_reader_that_is_gone_stops_and_keeps(module_folder, mine, out):
    words = arguments(**mine, out=out, steps=100_000, checkpoint_every=100_000)
    with subprocess.Popen(
        [module_folder / "zoodip", *words], stderr=subprocess.PIPE, text=True
    ) as run:
        for line in run.stderr:
            if re.match(r"\d+/100000", line):
                break
        run.stderr.close()
        assert run.wait() == 128 + signal.SIGPIPE
    assert step_of(out) == step_of(out.with_suffix(".state.safetensors")) >= 1


def test_a_full_standard_output_is_no_success(module_folder, model):
    with open("/dev/full", "w") as full:
        told = subprocess.run([module_folder / "zoodip", "settings"], stdout=full)
    assert told.returncode == 1


@pytest.mark.parametrize("checkpoint", [5, 0], ids=["later", "at once"])
def test_a_full_disk_names_the_step_and_a_command_that_works(
    module_folder, train, mine, out, tmp_path, checkpoint
):
    """A limit on the size of files stands in for the disk: it can be set while the run goes on."""
    chosen = {"steps": 400, "checkpoint_every": 5}
    words = ["-c", 'trap "" XFSZ; exec "$0" "$@"', str(module_folder / "zoodip")]
    run = GatedRun(Path("/bin/sh"), words + arguments(**mine, out=out, **chosen), tmp_path)
    run.until("checkpoint" if checkpoint else "start", checkpoint)
    resource.prlimit(run.process.pid, resource.RLIMIT_FSIZE, (100, 100))
    assert run.finish() == 1
    said = run.said
    assert re.search(r"error: step \d+: cannot write \S+sks\S+: File too large\. ", said), said
    if checkpoint:
        step = step_of(out.with_suffix(".state.safetensors"))
        assert f"The state as of step {step} is kept: the same command with --resume" in said
    else:
        assert "Nothing is kept: the same command starts anew" in said
    assert not list(tmp_path.rglob("*.tmp")) and not list(tmp_path.rglob("*.lock"))
    assert train(resume=checkpoint > 0, **chosen).returncode == 0
