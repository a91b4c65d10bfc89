"""Several words in the same captions, learned together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import zoodip
from make_checkpoint import write_checkpoint
from material import write_noise
from program import QUICK, arguments, refuses
from safetensors import safe_open
from safetensors.torch import load_file

CHOSEN = QUICK | {"threads": 1, "validate_every": 4}
KINDS = {
    "rge": {"n": 2, "compute": "fp32"},
    "exact": {"method": "exact"},
    "int8": {"n": 2, "compute": "int8"},
}
SENSITIVE = {"sensitive": {"preset": "few_passes", "n": 3, "direction_rank": 4}}
CAPTIONS = ["a photo of {sks} {ohwx} on a wall", "a photo of {sks}", "{ohwx} in a garden"]


def with_captions(folder: Path, captions: list[str], seed: int = 0) -> Path:
    """The pictures of noise, each with a caption."""
    write_noise(folder, "", seed)
    for i, caption in enumerate(captions):
        (folder / f"{i}.txt").write_text(caption)
    return folder


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> Path:
    return with_captions(tmp_path_factory.mktemp("pair"), CAPTIONS)


def learn(model: Path, images: Path, out: Path, **chosen) -> zoodip.TrainResult:
    out.parent.mkdir(exist_ok=True)
    also = chosen.pop("also", {"ohwx": "cat"})
    return zoodip.train(model, images, "sks", "dog", out, also=also, **(CHOSEN | chosen))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def metadata(token: Path) -> dict[str, str]:
    with safe_open(token, "pt") as file:
        return file.metadata()


def rows(*tokens: Path) -> dict[str, torch.Tensor]:
    """Of each encoder the vectors of all, one below another."""
    parts = [load_file(token) for token in tokens]
    return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}


@pytest.mark.parametrize("kind", KINDS)
def test_two_words_beside_each_other_are_the_two_vectors_of_one(kind, model, tmp_path):
    """Where every caption has both, one behind the other, nothing differs but the names."""
    two = with_captions(tmp_path / "two", [f"{i} photos of {{sks}} {{ohwx}} there" for i in "123"])
    one = with_captions(tmp_path / "one", [f"{i} photos of {{}} there" for i in "123"])
    made = learn(model, two, tmp_path / "a" / "sks.safetensors", **KINDS[kind])
    whole = zoodip.train(
        model, one, "sks", "dog cat", tmp_path / "sks.safetensors", **(CHOSEN | KINDS[kind])
    )
    assert [token.name for token in made.tokens] == ["sks.safetensors", "ohwx.safetensors"]
    assert made.loss == whole.loss and made.best_step == whole.best_step
    for key, learned in rows(*made.tokens).items():
        assert torch.equal(learned, load_file(whole.token)[key])
    best = [token.with_suffix(".best.safetensors") for token in made.tokens]
    for key, learned in rows(*best).items():
        assert torch.equal(learned, load_file(whole.best)[key])


def test_the_same_of_several_text_encoders(tmp_path):
    """By the exact gradient, where the order of vectors in theta decides nothing."""
    model = tmp_path / "xl.safetensors"
    write_checkpoint(model, "tiny-xl", seed=3)
    two = with_captions(tmp_path / "two", ["{sks} {ohwx}", "a {sks} {ohwx}", "the {sks} {ohwx}"])
    one = with_captions(tmp_path / "one", ["{}", "a {}", "the {}"])
    made = learn(model, two, tmp_path / "a" / "sks.safetensors", method="exact")
    out = tmp_path / "sks.safetensors"
    whole = zoodip.train(model, one, "sks", "dog cat", out, **(CHOSEN | {"method": "exact"}))
    learned = rows(*made.tokens)
    assert set(learned) == {"clip_l", "clip_g"}
    for key, vectors in learned.items():
        assert torch.equal(vectors, load_file(whole.token)[key])


@pytest.mark.parametrize("kind", ["exact", "rge", "sensitive"])
def test_a_step_moves_the_words_of_its_caption_alone(kind, model, tmp_path):
    """The gradient of a caption has nothing for a word that it lacks, and no more has what
    estimates it."""
    folder = with_captions(tmp_path / "images", ["{sks}", "a {sks}", "{ohwx}"])

    def words_after(rate: float, seed: int) -> list[torch.Tensor]:
        out = tmp_path / f"{rate}-{seed}" / "sks.safetensors"
        chosen = {"steps": 1, "learning_rate": rate, "seed": seed}
        made = learn(model, folder, out, **(KINDS | SENSITIVE)[kind], **chosen)
        return [load_file(token)["clip_l"] for token in made.tokens]

    seen = set()
    start = words_after(1e-8, 0)  # Adam's step is about the rate
    for seed in range(6):
        ends = zip(words_after(0.1, seed), start, strict=True)
        moved = [(end - begin).abs().max().item() > 1e-4 for end, begin in ends]
        assert sum(moved) == 1
        seen.add(moved.index(True))
    assert seen == {0, 1}


def test_a_word_of_the_last_caption_alone_is_learned_as_well(model, tmp_path):
    """Sensitive directions are found for each word, from the captions that have it."""
    folder = with_captions(tmp_path / "images", ["{sks}", "a {sks}", "{ohwx}"])
    chosen = SENSITIVE["sensitive"] | {"learning_rate": 0.05, "learning_rate_schedule": "constant"}
    made = learn(model, folder, tmp_path / "sks.safetensors", **chosen)
    still = learn(
        model, folder, tmp_path / "still" / "sks.safetensors", **(chosen | {"learning_rate": 1e-8})
    )
    for moved, start in zip(made.tokens, still.tokens, strict=True):
        assert (load_file(moved)["clip_l"] - load_file(start)["clip_l"]).abs().max() > 1e-3


def test_each_file_tells_what_it_was_learned_with(model, pair, tmp_path):
    made = learn(model, pair, tmp_path / "sks.safetensors")
    told = [zoodip.token_info(token) for token in made.tokens]
    assert [one["word"] for one in told] == ["sks", "ohwx"]
    assert [one["zoodip"]["initialiser"] for one in told] == ["dog", "cat"]
    assert [one["zoodip"]["learned_with"] for one in told] == [["ohwx"], ["sks"]]
    assert all(metadata(token)["finished"] == "true" for token in made.tokens)
    renamed = tmp_path / "toy.safetensors"
    zoodip.token_convert(made.tokens[1], renamed, to="comfyui", word="toy")
    toy = zoodip.token_info(renamed)
    assert (toy["word"], toy["zoodip"]["initialiser"]) == ("toy", "cat")
    assert toy["zoodip"]["learned_with"] == ["sks"] and toy["metadata"] == {}
    alone = zoodip.train(
        model, write_noise(tmp_path / "images"), "zwx", "dog", tmp_path / "zwx.safetensors",
        **CHOSEN
    )  # fmt: skip
    assert "learned_with" not in json.loads(metadata(alone.token)["zoodip"])


@pytest.mark.parametrize("kind", ["rge", "exact"])
def test_what_was_stopped_goes_on_to_the_same_words(kind, model, pair, tmp_path):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    learn(model, pair, whole / "sks.safetensors", **KINDS[kind])
    cancel = zoodip.CancelToken()
    stop = dict(on_step=lambda step, *_: step == 5 and cancel.cancel(), cancel=cancel)
    out = stopped / "sks.safetensors"
    made = learn(model, pair, out, **KINDS[kind], **stop)
    assert not made.finished and all(token.is_file() for token in made.tokens)
    made = learn(model, pair, out, resume=True, **KINDS[kind])
    assert made.finished
    assert contents(whole) == contents(stopped)
    assert len(contents(whole)) == 5  # two words, two best words, one state


def test_the_run_of_either_word_is_repeated(model, pair, tmp_path):
    made = learn(model, pair, tmp_path / "sks.safetensors")
    for number, like in enumerate(made.tokens):
        (tmp_path / str(number)).mkdir()
        again = zoodip.train(model, pair, out=tmp_path / str(number) / "sks.safetensors", like=like)
        assert [token.read_bytes() for token in again.tokens] == [
            token.read_bytes() for token in made.tokens
        ]


def test_a_run_goes_on_with_the_words_that_it_began_with(model, pair, tmp_path):
    out = tmp_path / "sks.safetensors"
    learn(model, pair, out)
    before = contents(tmp_path)
    with pytest.raises(zoodip.Error, match=r"another run: learned_with\[0\].initialiser was .cat"):
        learn(model, pair, out, also={"ohwx": "dog"}, resume=True, steps=20)
    assert contents(tmp_path) == before


REFUSED = {
    "one name": ({"also": {"SKS": "cat"}}, CAPTIONS, "'SKS' is two of the words"),
    "no word": ({"also": {"a b": "cat"}}, CAPTIONS, "'a b' cannot name"),
    "several tokens": ({"also": {"ohwx": "qqqq"}}, CAPTIONS, "'qqqq' is .* tokens"),
    "no initialiser": ({"also": {"ohwx": ""}}, CAPTIONS, "also: needs a word and"),
    "not placed": ({}, ["{sks}", "a {sks}", "the sks"], "word 'ohwx': none of the captions has it"),
    "none": ({}, ["{sks} {ohwx}", "a dog", "{sks}"], "contains none of the words: put {sks}, {oh"),
    "which": ({}, ["{sks} {ohwx}", "a {}", "{sks}"], "{}, which stands for the only word.*{ohwx}"),
    "no caption": ({}, CAPTIONS[:2], "2.png: has no caption"),
    "one file": ({"also": {"sks.best": "cat"}}, ["{sks} {sks.best}"] * 3, "by two of the words"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_before_anything_is_written(case, model, tmp_path):
    chosen, captions, message = REFUSED[case]
    folder = with_captions(tmp_path / "images", captions)
    with pytest.raises(zoodip.Error, match=message):
        learn(model, folder, tmp_path / "out" / "sks.safetensors", **chosen)
    assert list((tmp_path / "out").iterdir()) == []


def test_another_word_s_file_is_not_overwritten(model, pair, tmp_path):
    there = tmp_path / "ohwx.safetensors"
    there.write_bytes(b"mine")
    with pytest.raises(zoodip.Error, match=r"ohwx\.safetensors is there already.*overwrite"):
        learn(model, pair, tmp_path / "sks.safetensors")
    assert contents(tmp_path) == {there.name: b"mine"}
    learn(model, pair, tmp_path / "sks.safetensors", overwrite=True)
    assert there.read_bytes() != b"mine"


def test_a_stopped_run_takes_no_file_of_another(model, pair, tmp_path):
    out, other = tmp_path / "sks.safetensors", tmp_path / "ohwx.safetensors"
    cancel = zoodip.CancelToken()
    stop = dict(on_step=lambda step, *_: step == 5 and cancel.cancel(), cancel=cancel)
    assert not learn(model, pair, out, **stop).finished
    alone = write_noise(tmp_path / "alone")
    zoodip.train(model, alone, "ohwx", "dog", other, overwrite=True, **CHOSEN)
    before = contents(tmp_path)
    with pytest.raises(
        zoodip.Error, match=r"ohwx\.state\.safetensors holds a run of this word alone"
    ):
        learn(model, pair, out, resume=True)
    (tmp_path / "ohwx.state.safetensors").unlink()
    with pytest.raises(zoodip.Error, match=r"ohwx\.safetensors is there.* not of this run"):
        learn(model, pair, out, resume=True)
    assert contents(tmp_path) == {n: b for n, b in before.items() if n != "ohwx.state.safetensors"}
    for file in ("ohwx.safetensors", "ohwx.best.safetensors"):
        (tmp_path / file).unlink()
    assert learn(model, pair, out, resume=True).finished


def test_a_caption_for_all_may_have_both(model, tmp_path):
    folder = write_noise(tmp_path / "images", "")
    learn(model, folder, tmp_path / "sks.safetensors", caption="{sks} beside {ohwx}")


def test_braces_with_a_name_stand_for_an_only_word_too(model, tmp_path):
    """In captions and in prompts."""
    named = with_captions(tmp_path / "named", ["a {sks} there", "a {SKS} there", "a {} there"])
    plain = with_captions(tmp_path / "plain", ["a {} there"] * 3)
    tokens = []
    for folder in (named, plain):
        out = tmp_path / f"{folder.name}.safetensors"
        tokens.append(zoodip.train(model, folder, "sks", "dog", out, **CHOSEN).token)
    assert torch.equal(*[load_file(token)["clip_l"] for token in tokens])
    drawn = [
        zoodip.sample(model, prompt, tokens=tokens[:1], steps=2, width=64, height=64)
        for prompt in ("a {sks} there", "a sks there")
    ]
    assert drawn[0].tobytes() == drawn[1].tobytes()


class TestProgram:
    def test_learns_further_words(self, run, model, pair, tmp_path):
        out = tmp_path / "sks.safetensors"
        words = arguments(model, pair, out, **CHOSEN)
        result = run([*words, "--also", "ohwx:cat"])
        assert result.returncode == 0, result.stderr
        assert f"done: {out}" in result.stderr
        assert f"done: {tmp_path / 'ohwx.safetensors'}" in result.stderr
        assert "read as it stands" not in result.stderr, "names in braces are obeyed"
        learn(model, pair, tmp_path / "python" / "sks.safetensors")
        python = contents(tmp_path / "python")
        assert {name: contents(tmp_path)[name] for name in python} == python
        shown = run(["token", "info", str(tmp_path / "ohwx.safetensors")])
        assert "learned with sks" in shown.stdout

    @pytest.mark.parametrize("also", ["ohwx", ":cat", "ohwx:"])
    def test_refuses_what_is_no_word_and_initialiser(self, run, model, pair, tmp_path, also):
        (tmp_path / "out").mkdir()
        words = arguments(model, pair, tmp_path / "out" / "sks.safetensors")
        refuses(run([*words, "--also", also]), also, "WORD:INIT", folder=tmp_path / "out")

    def test_subjects_have_no_further_words(self, run, model, pair, tmp_path):
        words = ["train", "--model", model, "--out", tmp_path / "out", "--also", "ohwx:cat"]
        refuses(run([str(w) for w in (*words, "--subject", f"a={pair}:sks:dog")]), "--also")
