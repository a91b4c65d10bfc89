"""Several words learned in one run: each is the word that it would be alone, and ends by itself."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import zoodip
from material import write_noise
from program import QUICK, arguments, refuses
from safetensors.torch import load_file

STEPS = 9
# What decides how passes are made, and so whether words can share them.
KINDS = {
    "two": {"n": 2},
    "few passes": {"preset": "few_passes", "n": 3, "direction_rank": 4},
    "batch": {"n": 2, "batch": 2, "slope": "residual"},
    "one point": {"method": "one_point"},
    "spsa": {"method": "spsa"},
    "exact": {"method": "exact", "batch": 2},
    "bf16": {"n": 2, "compute": "bf16"},
    "int8": {"n": 2, "compute": "int8"},
    "chunk": {"n": 4, "chunk": 2},
    "dense": {"n": 2, "weights": "dense"},
    "two threads": {"n": 2, "threads": 2},
}
CHOSEN = QUICK | {"steps": STEPS, "threads": 1, "compute": "fp32", "validate_every": 4}


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> list[Path]:
    """Of three subjects, whose pictures and captions differ."""
    return [
        write_noise(tmp_path_factory.mktemp(f"images{i}"), f"{i} photos of a {{}}\n", i)
        for i in range(3)
    ]


def subjects_in(folder: Path, folders: list[Path]) -> list[zoodip.Subject]:
    folder.mkdir(exist_ok=True)
    words = [("sks", "dog"), ("ohwx", "cat"), ("zwx", "dog cat")]  # the last has two vectors
    return [
        zoodip.Subject(images, word, init, folder / f"{word}.safetensors")
        for images, (word, init) in zip(folders, words, strict=True)
    ]


def learn_alone(model: Path, subject: zoodip.Subject, **chosen) -> zoodip.TrainResult:
    return zoodip.train(
        model, subject.images, subject.word, subject.init, subject.out, **(CHOSEN | chosen)
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


@pytest.mark.parametrize("kind", KINDS)
def test_each_word_is_the_one_that_it_would_be_alone(kind, model, folders, tmp_path):
    alone, together = tmp_path / "alone", tmp_path / "together"
    results = [learn_alone(model, s, **KINDS[kind]) for s in subjects_in(alone, folders)]
    events: dict[str, list[str]] = {}
    made = zoodip.train_together(
        model,
        subjects_in(together, folders),
        on_event=lambda word, event: events.setdefault(word, []).append(event["event"]),
        **(CHOSEN | KINDS[kind]),
    )
    for one, other in zip(results, made, strict=True):
        assert isinstance(other, zoodip.TrainResult)
        assert (one.steps, one.loss, one.best_step) == (other.steps, other.loss, other.best_step)
        assert one.token.name == other.token.name
    # Words, best words and states, byte for byte.
    assert contents(alone) == contents(together)
    assert len(contents(together)) == 9
    assert set(events) == {"sks", "ohwx", "zwx"}
    for told in events.values():
        assert told.count("step") == STEPS and told[0] == "start" and told[-1] == "end"
    moved = [load_file(result.token)["clip_l"] for result in made]
    assert [tuple(m.shape)[0] for m in moved] == [1, 1, 2]


@pytest.mark.parametrize("kind", ["two", "exact", "int8"])
def test_one_that_ends_early_leaves_the_others_to_go_on(kind, model, folders, tmp_path):
    """Validation ends each where it would end alone."""
    chosen = KINDS[kind] | {"steps": 40, "validate_every": 1, "early_stop": 2, "seed": 3}
    alone, together = tmp_path / "alone", tmp_path / "together"
    results = [learn_alone(model, s, **chosen) for s in subjects_in(alone, folders)]
    made = zoodip.train_together(model, subjects_in(together, folders), **(CHOSEN | chosen))
    assert [one.steps for one in made] == [one.steps for one in results]
    assert len({one.steps for one in results}) > 1, "they would have ended together anyway"
    assert contents(alone) == contents(together)


def test_one_that_fails_leaves_the_others_to_go_on(model, folders, tmp_path):
    alone, together = tmp_path / "alone", tmp_path / "together"
    for subject in subjects_in(alone, folders):
        learn_alone(model, subject)
    subjects = subjects_in(together, folders)
    # What lies beside the second word is the stopped run of other pictures.
    other = zoodip.Subject(folders[0], "ohwx", "cat", subjects[1].out)
    learn_alone(model, other, steps=4)
    before = contents(together)
    made = zoodip.train_together(model, subjects, resume=True, **CHOSEN)
    assert isinstance(made[0], zoodip.TrainResult) and isinstance(made[2], zoodip.TrainResult)
    assert isinstance(made[1], zoodip.Error)
    assert "pictures" in str(made[1]), made[1]
    after, expected = contents(together), contents(alone)
    assert {name: after[name] for name in before} == before
    for name in expected:
        if not name.startswith("ohwx"):
            assert after[name] == expected[name], name


@pytest.mark.parametrize("kind", ["two", "exact", "int8"])
def test_what_was_stopped_goes_on_to_the_same_words(kind, model, folders, tmp_path):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    zoodip.train_together(model, subjects_in(whole, folders), **(CHOSEN | KINDS[kind]))
    cancel = zoodip.CancelToken()

    def stop(word: str, event) -> None:
        if event["event"] == "step" and event["step"] == 5 and word == "ohwx":
            cancel.cancel()

    subjects, chosen = subjects_in(stopped, folders), CHOSEN | KINDS[kind]
    made = zoodip.train_together(model, subjects, on_event=stop, cancel=cancel, **chosen)
    assert [one.finished for one in made] == [False] * 3
    assert {one.steps for one in made} <= {4, 5}
    made = zoodip.train_together(model, subjects, resume=True, **chosen)
    assert [(one.finished, one.steps) for one in made] == [(True, STEPS)] * 3
    assert contents(whole) == contents(stopped)
    # And once more there is nothing left to do.
    made = zoodip.train_together(model, subjects, resume=True, **chosen)
    assert contents(whole) == contents(stopped)


def test_what_a_callback_raises_stops_all_and_is_raised_again(model, folders, tmp_path):
    def fail(word: str, event) -> None:
        if event["event"] == "step" and event["step"] == 3:
            raise ZeroDivisionError(word)

    subjects = subjects_in(tmp_path, folders)
    with pytest.raises(ZeroDivisionError, match="sks"):
        zoodip.train_together(model, subjects, on_event=fail, **CHOSEN)
    assert all((tmp_path / f"{s.word}.state.safetensors").exists() for s in subjects)


def test_what_cannot_be_is_refused_before_anything_is_written(model, folders, tmp_path):
    (tmp_path / "empty").mkdir()
    out = tmp_path / "out"
    sks, ohwx, zwx = subjects_in(out, folders)
    bad = {
        "two have the word 'sks'": [sks, zoodip.Subject(folders[1], "sks", "cat", ohwx.out)],
        "would both be written": [sks, zoodip.Subject(folders[1], "ohwx", "cat", sks.out)],
        "subject 'ohwx': .*empty.*no pictures": [
            sks,
            zoodip.Subject(tmp_path / "empty", "ohwx", "cat", ohwx.out),
            zwx,
        ],
        "subject 'ohwx': init": [sks, zoodip.Subject(folders[1], "ohwx", "qqqq", ohwx.out)],
        "subjects: needs at least one": [],
    }
    for message, subjects in bad.items():
        with pytest.raises(zoodip.Error, match=message):
            zoodip.train_together(model, subjects, **CHOSEN)
        assert not out.exists() or list(out.iterdir()) == []


class TestProgram:
    def words_for(self, model: Path, out: Path, *more, **chosen) -> list[str]:
        chosen = CHOSEN | chosen
        words = ["train", "--model", model, "--out", out, *more]
        for name, value in chosen.items():
            words += [f"--{name.replace('_', '-')}", value]
        return [str(word) for word in words]

    def test_learns_the_subjects_that_are_named(self, run, model, folders, tmp_path):
        out = tmp_path / "out"
        named = ["--subject", f"first={folders[0]}:sks:dog", "--subject"]
        named += [f"second={folders[1]}:ohwx:cat", "--log", tmp_path / "log"]
        named += ["--previews", tmp_path / "shown", "--preview-every", 6]
        result = run(self.words_for(model, out, *named))
        assert result.returncode == 0, result.stderr
        assert result.stderr.count("done: ") == 2
        assert f"9/{STEPS}" in result.stderr
        alone = tmp_path / "alone.safetensors"
        zoodip.train(model, folders[1], "ohwx", "cat", alone, **CHOSEN)
        assert (out / "second.safetensors").read_bytes() == alone.read_bytes()
        for name in ("first", "second"):
            assert (tmp_path / "shown" / name / "000006.png").is_file()
            assert '"event":"end"' in (tmp_path / "log" / f"{name}.jsonl").read_text()

    def test_learns_a_folder_of_folders(self, run, model, folders, tmp_path):
        inside = tmp_path / "subjects"
        for name, folder in zip(("sks dog", "10_ohwx cat"), folders, strict=False):
            shutil.copytree(folder, inside / name)
        result = run(self.words_for(model, tmp_path / "out", "--subjects", inside))
        assert result.returncode == 0, result.stderr
        found = sorted(path.name for path in (tmp_path / "out").glob("*.safetensors"))
        assert [name for name in found if "." not in name.removesuffix(".safetensors")] == [
            "ohwx.safetensors",
            "sks.safetensors",
        ]

    def test_says_which_failed_and_ends_so(self, run, model, folders, tmp_path):
        out = tmp_path / "out"
        out.mkdir()
        zoodip.train(
            model, folders[0], "ohwx", "cat", out / "b.safetensors", **(CHOSEN | {"steps": 4})
        )
        named = [f"--subject=a={folders[0]}:sks:dog", f"--subject=b={folders[1]}:ohwx:cat"]
        result = run(self.words_for(model, out, *named, "--resume"))
        refuses(result, "subject 'ohwx'", "pictures")
        assert result.stderr.count("done: ") == 1

    @pytest.mark.parametrize(
        ("named", "parts"),
        [
            (["--subject", "photos:sks:dog"], ["photos:sks:dog", "NAME=FOLDER:WORD:INIT"]),
            (["--subject", "a=photos:sks"], ["a=photos:sks", "NAME=FOLDER:WORD:INIT"]),
            (["--subject", "a/b=photos:sks:dog"], ["'a/b' cannot be the name"]),
            (["--subject", "a=x:sks:dog", "--subject", "a=y:ohwx:cat"], ["two are called 'a'"]),
            (["--subject", "a=x:sks:dog", "--word", "sks"], ["--word", "each --subject"]),
            (["--subjects", "/nowhere"], ["/nowhere"]),
            ([], ["--images"]),
        ],
    )
    def test_refuses_what_names_no_subjects(self, run, model, tmp_path, named, parts):
        result = run(self.words_for(model, tmp_path / "out", *named))
        refuses(result, *parts)
        assert not (tmp_path / "out").exists()

    def test_refuses_folders_that_say_no_word(self, run, model, tmp_path):
        (tmp_path / "subjects" / "holiday").mkdir(parents=True)
        result = run(self.words_for(model, tmp_path / "o", "--subjects", tmp_path / "subjects"))
        refuses(result, "holiday", "'sks dog'")
        (tmp_path / "subjects" / "holiday").rmdir()
        result = run(self.words_for(model, tmp_path / "o", "--subjects", tmp_path / "subjects"))
        refuses(result, "no folders in it")

    def test_still_learns_one(self, run, model, images, tmp_path):
        result = run(arguments(model, images, tmp_path / "sks.safetensors"))
        assert result.returncode == 0, result.stderr
