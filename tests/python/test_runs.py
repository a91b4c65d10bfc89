"""Runs that are killed, stopped, broken and repeated: each ends as the unbroken one."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
from pathlib import Path

import pytest
import torch
import zoodip
from gated import AHEAD, PIPE, GatedRun, open_pipe
from PIL import Image
from processor import needs_integer_products
from program import QUICK, arguments, refuses
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from node.captions import TEMPLATES


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A token file in a folder of its own."""
    folder = tmp_path / "out"
    folder.mkdir()
    return folder / "sks.safetensors"


@pytest.fixture
def train(run, model, images, out):
    """The program with these settings."""

    def call(**chosen):
        words = {"model": model, "images": images, "out": out}
        words |= {name: chosen.pop(name) for name in list(chosen) if name in words}
        return run(arguments(**words, **chosen))

    return call


@pytest.fixture
def learn(model, images, out):
    """The Python function with these settings; `stop` is the step after which it is stopped."""

    def call(stop: int = 0, **chosen) -> zoodip.TrainResult:
        words = {"model": model, "images": images, "word": "sks", "init": "dog", "out": out}
        cancel = zoodip.CancelToken()
        return zoodip.train(
            **(words | QUICK | chosen),
            on_step=lambda step, *_: cancel.cancel() if step == stop else None,
            cancel=cancel,
        )

    return call


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# The word, the best word, and what a run of more steps goes on from.
ALL_OF_A_RUN = ["sks.best.safetensors", "sks.safetensors", "sks.state.safetensors"]


def metadata(token: Path) -> dict[str, str]:
    with safe_open(token, "pt") as file:
        return file.metadata()


def identity(token: Path) -> dict:
    return json.loads(metadata(token)["zoodip"])


def best_of(token: Path) -> Path:
    return token.with_suffix(".best.safetensors")


def state_of(token: Path) -> Path:
    return token.with_suffix(".state.safetensors")


def events_of(log: Path) -> list[dict]:
    return [json.loads(line) for line in log.read_text("utf-8").splitlines()]


# ------------------------------------------------------------------------------------------ killed

STEPS = 120
KINDS = {
    "averaged": {
        "checkpoint_every": 1,
        "average_steps": 60,
        "learning_rate_schedule": "cosine",
        "batch": 2,
        "validate_every": 3,
        "validation_samples": 2,
    },
    "within_words": {
        "checkpoint_every": 3,
        "method": "spsa",
        "timesteps": "stratified",
        "directions": "principal",
        "direction_rank": 8,
        "validate_every": 4,
        "init": "brown dog",
    },
    "integers": {
        "checkpoint_every": 2,
        "compute": "int8",
        "validate_every": 6,
        "validation_samples": 2,
    },
    "residual": {
        "checkpoint_every": 2,
        "slope": "residual",
        "chunk": 2,
        "timesteps": "snr",
        "learning_rate_schedule": "linear",
        "checkpoints_kept": 1,
    },
}


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=needs_integer_products if kind == "integers" else ())
        for kind in KINDS
    ],
)
def test_a_run_killed_at_random_moments_ends_as_the_unbroken_one(
    module_folder, learn, model, images, out, tmp_path, kind
):
    """The subspace is renewed every four steps, in the midst of which the kills fall."""
    chosen = KINDS[kind] | {"steps": STEPS}
    whole = tmp_path / "whole.safetensors"
    learn(out=whole, **chosen)
    moments = random.Random(kind).sample(range(2 * AHEAD, STEPS - 2 * AHEAD), 3)
    for i, moment in enumerate(sorted(moments)):
        words = arguments(model, images, out, resume=i > 0, **chosen)
        going = GatedRun(module_folder / "zoodip", words, tmp_path)
        going.until("step", moment)
        going.kill()
        assert load_file(out)["clip_l"].isfinite().all()  # always a whole word
        assert int(metadata(state_of(out))["step"]) >= moment - chosen["checkpoint_every"]
    assert learn(resume=True, **chosen).finished
    assert out.read_bytes() == whole.read_bytes()
    assert best_of(out).read_bytes() == best_of(whole).read_bytes()
    assert names(out.parent) == ALL_OF_A_RUN


@pytest.mark.parametrize(
    "name", ["sks.safetensors", "sks.best.safetensors", "sks.state.safetensors"]
)
def test_a_run_killed_while_it_writes_ends_as_the_unbroken_one(
    module_folder, learn, model, images, out, tmp_path, name
):
    """Pipes take the places of the temporary files: the writer waits in the midst of writing."""
    every = 2 * AHEAD
    chosen = {"steps": 3 * every, "checkpoint_every": every, "validate_every": every, "vectors": 16}
    whole = tmp_path / "whole.safetensors"
    learn(out=whole, **chosen)
    going = GatedRun(module_folder / "zoodip", arguments(model, images, out, **chosen), tmp_path)
    going.until("checkpoint", every)
    # It is fewer than `every` steps ahead, so that nothing is written before the pipes are there.
    assert (out.parent / name).stat().st_size > PIPE  # more than a pipe takes
    places = [out.parent / f"{name}.{going.process.pid}-{i}.tmp" for i in range(20)]
    pipes = [open_pipe(place) for place in places]
    while not going.read(*pipes):
        pass
    going.kill()
    for pipe in pipes:
        os.close(pipe)
    assert int(metadata(state_of(out))["step"]) == every  # that of the checkpoint before
    words = arguments(model, images, out, resume=True, **chosen)
    again = GatedRun(module_folder / "zoodip", words, tmp_path)
    again.until("start", every)
    assert not list(out.parent.glob("*.tmp"))  # what was left half-written is gone
    assert again.finish() == 0
    assert out.read_bytes() == whole.read_bytes()
    assert best_of(out).read_bytes() == best_of(whole).read_bytes()
    assert names(out.parent) == ALL_OF_A_RUN


def test_the_log_of_a_killed_run_is_gone_on_with(
    module_folder, learn, model, images, out, tmp_path
):
    log = tmp_path / "log.jsonl"
    going = GatedRun(module_folder / "zoodip", arguments(model, images, out, steps=80), tmp_path)
    with log.open("w", encoding="utf-8") as file:
        for event in going.events():
            file.write(json.dumps(event) + "\n")
            if event["event"] == "step" and event["step"] == 23:
                break
        file.write('{"event":"st')  # a line that was cut off
    going.kill()
    learn(steps=80, resume=True, log=log)
    events = events_of(log)
    assert [e["event"] for e in events].count("start") == 2
    steps = [e["step"] for e in events if e["event"] == "step"]
    assert steps[:23] == list(range(1, 24))
    begun = steps[23]
    assert steps[23:] == list(range(begun, 81)) and (begun - 1) % QUICK["checkpoint_every"] == 0
    losses = {}
    for event in events:  # a step that was made twice had the same loss
        if event["event"] == "step":
            assert losses.setdefault(event["step"], event["loss"]) == event["loss"]


# --------------------------------------------------------------------------------- damaged states


def test_from_a_damaged_state_a_run_goes_back_to_an_older_one(learn, out, tmp_path, caplog):
    whole = tmp_path / "whole.safetensors"
    assert learn(out=whole, steps=40).finished
    assert not learn(stop=17, steps=40).finished
    newest = state_of(out)
    newest.write_bytes(newest.read_bytes()[:-7])
    assert learn(steps=40, resume=True).finished
    warnings = [r.message for r in caplog.records if "passed over" in r.message]
    assert len(warnings) == 1 and str(newest) in warnings[0]
    assert out.read_bytes() == whole.read_bytes()


def test_with_nothing_but_damaged_states_it_is_said_what_to_do(learn, out):
    learn(stop=8, steps=40)
    for state in out.parent.glob("*.state*"):
        state.write_bytes(state.read_bytes()[:-7])
    with pytest.raises(zoodip.Error, match=r"sks\.state\.safetensors.*`overwrite`"):
        learn(steps=40, resume=True)
    assert learn(overwrite=True).finished
    assert names(out.parent) == ALL_OF_A_RUN


@pytest.mark.parametrize("settings", [{}, [], "fp32", {"steps": "many"}])
def test_a_state_without_its_settings_is_another_run(learn, out, settings):
    """A whole file whose run does not say what it decided: nothing of it is made up."""
    learn(stop=8, steps=40)
    for state in out.parent.glob("*.state*"):
        written = metadata(state)
        run = json.loads(written["identity"]) | {"settings": settings}
        save_file(load_file(state), state, written | {"identity": json.dumps(run)})
    with pytest.raises(zoodip.Error, match="steps|state|settings") as refused:
        learn(steps=0, method="auto", compute="auto", resume=True)
    assert not re.search(r"json|exception|basic_string|stoll|\bat\b:", str(refused.value))


def test_a_word_whose_step_is_no_number_counts_as_unfinished(learn, out):
    learn()
    save_file(load_file(out), out, metadata(out) | {"step": "many", "run_step": "soon"})
    with pytest.raises(zoodip.Error, match="holds a stopped run: add `resume`"):
        learn(steps=41)


@pytest.mark.parametrize(("kept", "older"), [(1, []), (2, ["15"]), (3, ["15", "10"])])
def test_so_many_states_are_kept_until_the_end(learn, out, kept, older):
    learn(stop=17, steps=40, checkpoints_kept=kept)
    expected = {
        "sks.safetensors",
        "sks.state.safetensors",
        *(f"sks.state.{n}.safetensors" for n in older),
    }
    assert set(names(out.parent)) == expected
    learn(resume=True, steps=40, checkpoints_kept=kept)
    assert names(out.parent) == ALL_OF_A_RUN


# ------------------------------------------------------------------------------------ another run


@pytest.mark.parametrize(
    ("chosen", "difference"),
    [
        ({"n": 3}, "settings.n was 2, now 3"),
        ({"timesteps": "snr"}, 'settings.timesteps was "puts", now "snr"'),
        ({"average_steps": 3}, "settings.average_steps was 0, now 3"),
        ({"validate_every": 3}, "settings.validate_every was 100, now 3"),
        ({"word": "zwx"}, 'word was "sks", now "zwx"'),
        ({"init": "brown dog"}, 'initialiser was "dog", now "brown dog"'),
    ],
    ids=str,
)
def test_another_run_is_not_gone_on_with(learn, out, chosen, difference):
    learn(stop=6)
    before = {path.name: path.read_bytes() for path in out.parent.iterdir()}
    says = f"holds another run: {re.escape(difference)}. Give .* `overwrite`"
    with pytest.raises(zoodip.Error, match=says):
        learn(resume=True, **chosen)
    assert {path.name: path.read_bytes() for path in out.parent.iterdir()} == before


def test_other_pictures_and_captions_are_another_run(learn, images, tmp_path):
    learn(stop=6)
    others = Path(shutil.copytree(images, tmp_path / "others"))
    (others / "1.txt").write_text("a {} before a wall")
    with pytest.raises(zoodip.Error, match=r"pictures\[1\]\.captions\[0\] was"):
        learn(resume=True, images=others)
    shutil.copy(images / "1.txt", others / "1.txt")
    Image.new("RGB", (70, 70), (9, 9, 9)).save(others / "2.png")
    with pytest.raises(zoodip.Error, match=r"pictures\[2\]\.sha256 was"):
        learn(resume=True, images=others)
    (others / "2.png").unlink()
    with pytest.raises(zoodip.Error, match="pictures were 3, now 2"):
        learn(resume=True, images=others)


def test_what_does_not_decide_may_change(learn, out, tmp_path):
    whole = tmp_path / "whole.safetensors"
    learn(out=whole)
    learn(stop=6)
    free = {"checkpoint_every": 2, "checkpoints_kept": 5, "preview_every": 4, "threads": 1}
    assert learn(resume=True, **free).finished
    assert out.read_bytes() == whole.read_bytes()
    assert (out.parent / "sks.previews" / "000008.png").exists()


# ------------------------------------------------------------------------------------- more steps


def test_a_finished_run_goes_on_to_more_steps(train, learn, out, tmp_path):
    """Ends as a run of so many from the start; the command line as it is written."""
    whole = tmp_path / "whole.safetensors"
    learn(out=whole, steps=40)
    assert train(steps=25).returncode == 0
    again = train(steps=40)
    refuses(again, str(out), "is the word of a finished run", "--resume and more --steps")
    result = train(steps=40, resume=True)
    assert result.returncode == 0, result.stderr
    assert "15 steps at" in result.stderr
    assert out.read_bytes() == whole.read_bytes()
    assert names(out.parent) == ALL_OF_A_RUN


def test_without_more_steps_a_finished_run_stays_as_it_is(train, learn, out):
    learn(steps=25)
    before = {path.name: path.read_bytes() for path in out.parent.iterdir()}
    result = train(steps=25, resume=True)
    assert result.returncode == 0
    assert "the 25 steps are done already; ask for more to go on" in result.stderr
    assert {path.name: path.read_bytes() for path in out.parent.iterdir()} == before
    refuses(train(steps=20, resume=True), "is at step 25 already; ask for at least as many, got 20")
    assert {path.name: path.read_bytes() for path in out.parent.iterdir()} == before


def test_a_run_that_goes_on_makes_the_steps_that_it_was_to(learn, run, model, images, out):
    """Without --steps: not those of the default."""
    learn(stop=7, steps=20)
    words = arguments(model, images, out, resume=True)
    place = words.index("--steps")
    assert run([*words[:place], *words[place + 2 :]]).returncode == 0
    assert metadata(out)["step"] == "20"


@pytest.mark.parametrize(
    ("chosen", "says"),
    [
        ({"learning_rate_schedule": "cosine"}, "learning_rate_schedule cosine"),
        ({"learning_rate_schedule": "linear"}, "learning_rate_schedule linear"),
        ({"average_steps": 12}, r"average_steps.*Ask for at least 37 steps"),
    ],
    ids=str,
)
def test_steps_that_would_have_made_another_run_are_refused_before_a_weight_is_read(
    learn, out, chosen, says
):
    learn(steps=25, **chosen)
    before = {path.name: path.read_bytes() for path in out.parent.iterdir()}
    stages = []
    with pytest.raises(zoodip.Error, match=says):
        learn(steps=36, resume=True, on_stage=stages.append, **chosen)
    assert stages == ["checking"]
    assert {path.name: path.read_bytes() for path in out.parent.iterdir()} == before
    if "average_steps" in chosen:
        assert learn(steps=37, resume=True, **chosen).finished


def test_a_word_of_a_version_that_kept_no_state_cannot_be_gone_on_with(learn, out):
    learn(steps=25)
    state_of(out).unlink()
    with pytest.raises(zoodip.Error, match="there is no state of this finished run at"):
        learn(steps=40, resume=True)
    assert metadata(out)["step"] == "25"


def test_the_best_word_can_be_what_comes_out(train, learn, out, tmp_path):
    chosen = {"steps": 30, "validate_every": 4, "learning_rate": 1.0}
    last = tmp_path / "last.safetensors"
    learn(out=last, **chosen)
    result = train(take="best", **chosen)
    assert result.returncode == 0, result.stderr
    best = int(metadata(best_of(out))["step"])
    assert best < 30
    assert f"it is the word of step {best}, which had the lowest validation loss" in result.stderr
    assert metadata(out)["step"] == str(best)
    assert torch.equal(load_file(out)["clip_l"], load_file(best_of(out))["clip_l"])
    done = learn(resume=True, take="last", **chosen)  # without a step: the last is kept as well
    assert (done.word_step, done.steps) == (30, 30)
    assert out.read_bytes() == last.read_bytes()


def test_the_best_word_needs_validation(train, out):
    refuses(
        train(take="best", validate_every=0), "take: best needs validate_every", folder=out.parent
    )


def test_an_output_folder_that_is_deleted_in_the_middle_is_made_anew(learn, out, tmp_path):
    whole = tmp_path / "whole.safetensors"
    learn(out=whole, steps=40)

    def delete(event):
        if event["event"] == "step" and event["step"] == 12:
            shutil.rmtree(out.parent)

    assert learn(steps=40, on_event=delete).finished
    assert out.read_bytes() == whole.read_bytes()


# ------------------------------------------------------------------------------- the course of loss


def test_a_diverging_run_keeps_the_last_sound_word(train, out):
    """A limit that chance alone exceeds stands in for a learning rate that is too large."""
    result = train(steps=10_000, divergence=1.01, learning_rate=0.1)
    refuses(result, "the loss diverges", "A smaller --learning-rate helps", "is kept in", str(out))
    assert load_file(out)["clip_l"].isfinite().all()
    told = int(metadata(out)["step"])
    assert 50 <= told < 10_000 and f"The word as of step {told} is kept" in result.stderr
    assert not list(out.parent.glob("*.state*"))


def test_validation_decides_the_best_word_and_is_the_same_in_every_run(learn, out, tmp_path):
    chosen = {"steps": 30, "validate_every": 4, "validation_samples": 3, "learning_rate": 0.3}
    logs = [tmp_path / "0.jsonl", tmp_path / "1.jsonl"]
    for log in logs:
        result = learn(log=log, overwrite=True, **chosen)
    one, two = ([e for e in events_of(log) if e["event"] == "validation"] for log in logs)
    assert one == two
    assert [e["step"] for e in one] == [0, 4, 8, 12, 16, 20, 24, 28, 30]
    assert not one.pop(0)["best"]  # what is not learned yet cannot be the best word
    best = min(one, key=lambda event: event["loss"])
    assert best["best"] and not any(e["best"] for e in one if e["step"] > best["step"])
    assert (result.best, result.best_step, result.best_loss) == (
        best_of(out),
        best["step"],
        best["loss"],
    )
    assert int(metadata(result.best)["step"]) == best["step"]
    assert json.loads(metadata(result.best)["validation_loss"]) == best["loss"]
    assert identity(result.best) == identity(out)
    # The word at that step: that of a run which ended there, its own validations apart.
    short = tmp_path / "short.safetensors"
    learn(out=short, **chosen | {"steps": best["step"], "validate_every": 0})
    assert torch.equal(load_file(short)["clip_l"], load_file(result.best)["clip_l"])


def test_a_run_stops_early(learn, out, tmp_path):
    log = tmp_path / "log.jsonl"
    chosen = {"steps": 5000, "validate_every": 2, "early_stop": 3, "learning_rate": 0.3}
    result = learn(log=log, **chosen)
    events = events_of(log)
    losses = [e["loss"] for e in events if e["event"] == "validation" and e["step"] > 0]
    best = losses.index(min(losses))
    assert len(losses) == best + 4  # three without a better one
    assert events[-1]["event"] == "end"
    assert result.finished and result.steps == events[-1]["step"] == 2 * len(losses) < 5000
    assert int(metadata(best_of(out))["step"]) == 2 * (best + 1)
    assert names(out.parent) == ALL_OF_A_RUN


def test_a_run_stopped_in_a_validation_ends_as_the_unbroken_one(learn, out, tmp_path):
    chosen = {"validate_every": 4, "validation_samples": 5}
    whole = tmp_path / "whole.safetensors"
    learn(out=whole, **chosen)
    assert learn(stop=8, **chosen).steps == 8  # cancelled as the validation of step 8 begins
    assert learn(resume=True, **chosen).finished
    assert out.read_bytes() == whole.read_bytes()
    assert best_of(out).read_bytes() == best_of(whole).read_bytes()


@pytest.mark.parametrize(
    ("chosen", "each"),
    [({}, 3), ({"n": 4}, 5), ({"method": "spsa", "batch": 3}, 12), ({"method": "one_point"}, 3)],
    ids=str,
)
def test_passes_are_counted(learn, out, tmp_path, chosen, each):
    log = tmp_path / "log.jsonl"
    learn(stop=5, log=log, **chosen)
    result = learn(resume=True, log=log, **chosen)
    assert (result.forward_passes, result.backward_passes) == (12 * each, 0)
    events = events_of(log)
    assert {e["forward_passes_a_step"] for e in events if e["event"] == "start"} == {each}
    counted = [e["forward_passes"] for e in events if e["event"] == "step"]
    assert counted == [each * step for step in range(1, 13)]


# ------------------------------------------------------------------------------------------ the log

NUMBER = (int, float)
SCHEMA = {
    "start": {
        "run": dict,
        "steps": int,
        "forward_passes_a_step": int,
        "backward_passes_a_step": int,
        "memory": dict,
    },
    "forecast": {"seconds_a_step": NUMBER, "seconds_left": NUMBER},
    "step": {
        "loss": float,
        "smooth_loss": float,
        "learning_rate": NUMBER,
        "forward_passes": int,
        "backward_passes": int,
        "seconds": NUMBER,
    },
    "validation": {"loss": float, "best": bool},
    "checkpoint": {"file": str},
    "preview": {"file": str},
    "stop": {"seconds": NUMBER},
    "failure": {"why": str},
    "end": {"seconds": NUMBER, "smooth_loss": float},
}


def check_schema(events: list[dict]) -> None:
    for event in events:
        fields = {"event": str, "step": int} | SCHEMA[event["event"]]
        assert set(event) == set(fields)
        for name, kind in fields.items():
            assert isinstance(event[name], kind), event


def test_the_log_has_every_event_and_is_gone_on_with(learn, out, tmp_path):
    log = tmp_path / "log.jsonl"
    heard = []
    chosen = {"log": log, "validate_every": 5, "preview_every": 5, "on_event": heard.append}
    learn(stop=7, **chosen)
    first = log.read_bytes()
    learn(resume=True, **chosen)
    assert log.read_bytes().startswith(first)
    events = events_of(log)
    assert heard == events
    check_schema(events)
    told = [(e["event"], e["step"]) for e in events if e["event"] != "step"]
    assert told == [
        ("start", 0),
        ("forecast", 0),
        ("validation", 0),
        ("validation", 5),
        ("checkpoint", 5),
        ("preview", 5),
        ("stop", 7),
        ("start", 7),
        ("forecast", 7),
        ("validation", 10),
        ("checkpoint", 10),
        ("preview", 10),
        ("validation", 12),
        ("end", 12),
    ]
    assert events[0]["run"] == identity(out)
    assert events[0]["steps"] == 12


def test_a_run_that_breaks_says_why_in_its_log(learn, tmp_path):
    log = tmp_path / "log.jsonl"
    with pytest.raises(zoodip.Error, match="diverges"):
        learn(steps=10_000, divergence=1.01, learning_rate=0.1, log=log)
    events = events_of(log)
    check_schema(events)
    assert events[-1]["event"] == "failure" and "the loss diverges" in events[-1]["why"]


def test_a_log_that_cannot_be_written_is_refused_before_anything_is_read(train, out, tmp_path):
    missing = {"model": tmp_path / "none.safetensors"}  # would be the next to be refused
    refuses(
        train(log=tmp_path / "no" / "log", **missing), "does not exist", "log", folder=out.parent
    )
    refuses(train(log=tmp_path, **missing), "it is a folder", folder=out.parent)


def test_a_full_disk_ends_the_log_and_not_the_run(train, out, tmp_path):
    log = tmp_path / "log"
    log.symlink_to("/dev/full")
    result = train(log=log)
    assert result.returncode == 0
    warnings = [line for line in result.stderr.splitlines() if "cannot be written any more" in line]
    assert len(warnings) == 1 and str(log) in warnings[0]
    assert load_file(out)["clip_l"].isfinite().all()


def test_a_picture_s_name_may_be_any_bytes(learn, out, images, tmp_path):
    folder = Path(shutil.copytree(images, tmp_path / "pictures"))
    os.rename(os.fsencode(folder / "0.png"), os.fsencode(folder) + b"/caf\xe9.png")
    learn(images=folder, log=tmp_path / "log")
    assert "caf\ufffd.png" in [picture["name"] for picture in identity(out)["pictures"]]
    assert events_of(tmp_path / "log")[0]["run"] == identity(out)


# ----------------------------------------------------------------------------------------- previews


def test_previews_are_pictures_beside_the_word(train, learn, out, tmp_path):
    assert train(preview_every=5).returncode == 0
    folder = out.parent / "sks.previews"
    assert names(folder) == ["000005.png", "000010.png"]
    drawn = [Image.open(folder / name).convert("RGB") for name in names(folder)]
    assert {picture.size for picture in drawn} == {(64, 64)}
    assert drawn[0].tobytes() != drawn[1].tobytes()
    again = tmp_path / "again.safetensors"
    elsewhere = tmp_path / "deep" / "pictures"
    learn(out=again, preview_every=5, previews=elsewhere, validate_every=3, log=tmp_path / "log")
    for name in names(folder):  # the files say of which run they are, too
        assert Image.open(elsewhere / name).tobytes() == Image.open(folder / name).tobytes()
    assert torch.equal(load_file(again)["clip_l"], load_file(out)["clip_l"])
    plain = tmp_path / "plain.safetensors"
    learn(out=plain, validate_every=0)
    assert torch.equal(load_file(plain)["clip_l"], load_file(out)["clip_l"])


# ------------------------------------------------------------------------------------- repeated


def test_a_token_s_run_is_repeated(run, learn, model, images, out, tmp_path):
    chosen = {"n": 4, "mu": 0.002, "seed": 5, "average_steps": 3, "init": "brown dog"}
    learn(word="zwx", **chosen)
    again = tmp_path / "again.safetensors"
    words = ["train", "--model", model, "--images", images, "--out", again, "--like", out]
    result = run([str(word) for word in words])
    assert result.returncode == 0 and "like:" not in result.stderr
    assert again.read_bytes() == out.read_bytes()
    other = zoodip.train(model, images, out=tmp_path / "other.safetensors", like=out, seed=6, n=3)
    now, before = identity(other.token), identity(out)
    assert now["settings"] == before["settings"] | {"seed": 6, "n": 3}
    assert (now["word"], now["initialiser"]) == ("zwx", "brown dog")
    named = tmp_path / "named.safetensors"
    zoodip.train(model, images, word="abx", init="cat", out=named, like=out, vectors=0)
    assert (identity(named)["word"], identity(named)["initialiser"]) == ("abx", "cat")
    assert load_file(named)["clip_l"].shape == (1, 64)


def test_a_run_from_before_adam_s_eps_was_a_setting_is_repeated(
    learn, model, images, out, tmp_path
):
    """Its eps was the paper's, also where the exact gradient takes another one by default."""
    learn(method="exact", preset="paper")
    told = identity(out)
    assert told["settings"].pop("adam_eps") == 1e-3
    del told["settings"]["preset"]  # a name of its time
    older = tmp_path / "older.safetensors"
    save_file(load_file(out), older, {"word": "sks", "zoodip": json.dumps(told)})
    again = zoodip.train(model, images, out=tmp_path / "again.safetensors", like=older)
    assert torch.equal(load_file(again.token)["clip_l"], load_file(out)["clip_l"])


def test_a_repetition_with_other_things_gets_a_warning(learn, model, images, out, tmp_path, caplog):
    learn()
    fewer = Path(shutil.copytree(images, tmp_path / "fewer"))
    (fewer / "2.png").unlink()
    zoodip.train(model, fewer, out=tmp_path / "a.safetensors", like=out)
    assert [r.message for r in caplog.records] == [
        "like: the pictures are not those of the run to repeat: another word will come out"
    ]
    caplog.clear()
    weights = load_file(model)
    name = "model.diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_q.weight"
    weights[name] = weights[name] * 1.01
    save_file(weights, tmp_path / "other.safetensors")
    zoodip.train(tmp_path / "other.safetensors", images, out=tmp_path / "b.safetensors", like=out)
    assert [r.message for r in caplog.records] == [
        "like: the model is not that of the run to repeat: another word will come out"
    ]


def test_only_a_token_of_ours_can_be_repeated(run, model, images, tmp_path):
    foreign = tmp_path / "foreign.safetensors"
    save_file({"clip_l": torch.ones(1, 64)}, foreign)
    words = ["train", "--model", model, "--images", images, "--out", tmp_path / "a.safetensors"]
    result = run([str(word) for word in [*words, "--like", foreign]])
    refuses(result, "like:", str(foreign), "does not say how it was made")
    whole = {"settings": {}, "word": "sks", "initialiser": "dog"}
    bad = [{"settings": 3}, {"settings": {}}, {"settings": {}, "word": 1, "initialiser": ""}]
    bad += [whole | {"learned_with": other} for other in (3, ["ohwx"], [{"word": 3}])]
    for said in bad:
        save_file({"clip_l": torch.ones(1, 64)}, foreign, {"zoodip": json.dumps(said)})
        result = run([str(word) for word in [*words, "--like", foreign]])
        refuses(result, "like:", str(foreign), "does not say how it was made")
    refuses(run([str(word) for word in words]), "word: needs a name")
    refuses(run([str(word) for word in [*words, "--word", "sks"]]), "init: needs a word")


# ------------------------------------------------------------------------------- words and captions


@pytest.mark.parametrize("name", ["object", "style"])
def test_templates_are_those_of_the_nodes(learn, out, name):
    learn(templates=name)
    captions = [picture["captions"] for picture in identity(out)["pictures"]]
    assert captions[1] == ["a photo of a {} in front of a wall"]  # has its own
    for drawn in (captions[0], captions[2]):
        assert len(drawn) == len(set(drawn))
        assert set(drawn) == set(TEMPLATES[name])


def test_one_caption_takes_the_place_of_the_templates(learn, out):
    learn(caption="a {}")
    captions = [picture["captions"] for picture in identity(out)["pictures"]]
    assert captions == [["a {}"], ["a photo of a {} in front of a wall"], ["a {}"]]


TABLE = "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight"


def test_words_are_read_before_the_first_step(learn, model, images, out, tmp_path):
    """Captions are drawn, so that most come up late: the file may be another by then."""
    learn(templates="object", steps=40)
    same = tmp_path / "same.safetensors"
    shutil.copyfile(model, same)
    table = load_file(same)[TABLE].numpy().tobytes()
    begin = same.read_bytes().index(table)

    def spoil(step: int, *_: object) -> None:
        if step == 1:
            with same.open("r+b") as file:
                file.seek(begin)
                file.write(bytes(len(table)))

    other = tmp_path / "other.safetensors"
    words = {"model": same, "images": images, "word": "sks", "init": "dog", "out": other}
    zoodip.train(**words, **(QUICK | {"templates": "object", "steps": 40}), on_step=spoil)
    assert same.read_bytes()[begin : begin + len(table)] != table
    assert load_file(other)["clip_l"].equal(load_file(out)["clip_l"])


def rows_of(model: Path, *words: str) -> torch.Tensor:
    """The rows of the model's table for words of one token each."""
    ids = [zoodip._native.Tokenizer().encode(word) for word in words]
    assert all(len(one) == 1 for one in ids)
    return load_file(model)[TABLE][[one[0] for one in ids]].float()


def test_a_word_starts_from_its_initialisers_and_the_last_stands_for_the_others(
    learn, train, model, out
):
    """One step of 1e-8 moves a number by at most that; theta is rounded to float32 once."""
    learn(init="brown dog", vectors=4, steps=1, learning_rate=1e-8)
    start = rows_of(model, "brown", "dog", "dog", "dog")
    word = load_file(out)["clip_l"]
    assert word.shape == (4, 64)
    assert torch.allclose(word, start, rtol=2**-24, atol=1.01e-8)
    assert train(init="brown, dog", overwrite=True, steps=1).returncode == 0
    assert load_file(out)["clip_l"].shape == (2, 64)
    assert identity(out)["settings"]["vectors"] == 2


def test_every_vector_of_a_word_is_trained(learn, model, out):
    learn(init="dog", vectors=3, steps=20)
    word = load_file(out)["clip_l"]
    moved = (word - rows_of(model, "dog", "dog", "dog")).abs()
    assert (moved > 0).all()
    assert not torch.equal(word[0], word[1]) and not torch.equal(word[1], word[2])


@pytest.mark.parametrize(
    ("chosen", "says"),
    [
        ({"init": "brown dog", "vectors": 1}, "vectors: needs at least one for each of the 2"),
        ({"vectors": 33}, "vectors: needs a whole number from 0 to 32"),
        ({"init": "brown wobbly"}, "'wobbly' is 2 tokens"),
        ({"vectors": 32, "caption": "{} " + "very " * 60}, "caption: .* the text encoder takes 75"),
        ({"directions": "related"}, "related_words: needs words"),
        ({"related_words": "dog"}, "related_words: is for directions related"),
        ({"directions": "related", "related_words": "wobbly"}, "related_words: .*'wobbly' is 2"),
        ({"directions": "principal", "direction_rank": 65}, "needs a rank from 1 to 64"),
    ],
    ids=str,
)
def test_words_that_cannot_be_used_are_refused(learn, out, chosen, says):
    with pytest.raises(zoodip.Error, match=says):
        learn(**chosen)
    assert names(out.parent) == []


def test_directions_decide_what_is_learned(learn, tmp_path):
    kinds = [
        {},
        {"directions": "related", "related_words": "dog puppy wolf"},
        {"directions": "related", "related_words": "dog puppy"},
        {"directions": "principal", "direction_rank": 4},
        {"directions": "principal", "direction_rank": 5},
    ]
    words = []
    for i, chosen in enumerate(kinds):
        result = learn(out=tmp_path / f"{i}.safetensors", **chosen)
        words.append(load_file(result.token)["clip_l"])
    assert len({word.numpy().tobytes() for word in words}) == len(kinds)
