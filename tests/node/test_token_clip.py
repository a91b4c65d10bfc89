"""A CLIP that knows words: what a prompt becomes."""

from __future__ import annotations

import copy

import pytest
import torch
from comfyui_zoodip.node.token import Token, TokenError
from comfyui_zoodip.node.token_clip import apply_token, family_of
from fake_host import FakeCLIP, FakeSDTokenizer, known_words, plain, sd1_clip, sdxl_clip

SKS = torch.tensor([[1.0, 2, 3, 4], [5, 6, 7, 8]])
DOTTED = torch.tensor([[9.0, 9, 9, 9]])
FILES = {"oth": torch.tensor([[0.5, 0, 0, 0]]), "sks-v2": torch.tensor([[0.0, 0, 0, 1]])}


def token(word="sks", vectors=SKS) -> Token:
    return Token(word, {"clip_l": vectors}, {})


def by_file(text: str) -> dict:
    """What the host makes of `text` when the words are files."""
    files = {**FILES, "sks": SKS, "my-cat_v2.0": DOTTED}
    return plain(sd1_clip(files=files).tokenize(text))


@pytest.mark.parametrize(
    ("bare", "named"),
    [
        ("a photo of sks", "a photo of embedding:sks"),
        ("sks", "embedding:sks"),
        ("SKS on Sks", "embedding:sks on embedding:sks"),
        ("sks, a dog", "embedding:sks , a dog"),
        ("sks's", "embedding:sks 's"),
        ("a\nsks\nb", "a\nembedding:sks\nb"),
        ("a embedding:sks b", "a embedding:sks b"),
        ("a embedding:SKS b", "a embedding:sks b"),
        ("embedding:sks, b", "embedding:sks, b"),
        ("embedding: sks b", "embedding: sks b"),
        ("(sks:1.3) b", "(embedding:sks :1.3) b"),
        ("((sks)) b", "((embedding:sks )) b"),
        ("(a embedding:sks:0.5) b", "(a embedding:sks :0.5) b"),
        ("a (embedding:oth:0.5)sks b", "a (embedding:oth:0.5) embedding:sks b"),
        ("\\(sks\\)", "\\( embedding:sks \\)"),
        ("sks-like", "embedding:sks -like"),
        ("a embedding:sks-v2 b", "a embedding:sks-v2 b"),
        ("my-cat_v2.0 My-Cat_V2.0.", "embedding:my-cat_v2.0 embedding:my-cat_v2.0 ."),
        ("sksy asks sks_ sks1 \u00e9sks", "sksy asks sks_ sks1 \u00e9sks"),
        ("embedding:a,sks", "embedding:a,sks"),
        ("dog " * 80 + "sks", "dog " * 80 + "embedding:sks"),
        ("dog " * 73 + "sks dog", "dog " * 73 + "embedding:sks dog"),
    ],
)
def test_a_bare_word_is_its_file(bare, named):
    clip = sd1_clip(files=FILES)
    clip = apply_token(apply_token(clip, token("my-cat_v2.0", DOTTED)), token())
    assert plain(clip.tokenize(bare)) == by_file(named)


@pytest.mark.parametrize(
    "text", ["a dog", "", "a embedding:oth, dog (big:1.2)", "embedding:nope x"]
)
def test_a_prompt_without_the_word_is_unchanged(text):
    clip = sd1_clip(files=FILES)
    assert plain(apply_token(clip, token()).tokenize(text)) == plain(clip.tokenize(text))


@pytest.mark.parametrize(
    "text",
    ["a embedding:oth b", "embedding: x", "embedding:", "a (embedding:z,:1.2) q", "embedding:a\nb"],
)
def test_without_a_directory_only_the_word_is_an_embedding(text):
    clip = sd1_clip(files=FILES, directory=None)
    known = apply_token(clip, token())
    assert plain(known.tokenize(text)) == plain(clip.tokenize(text))
    assert known.tokenizer.clip_l.not_found == []
    mixed = plain(known.tokenize("embedding:sks and embedding:oth b"))
    assert mixed["l"][0][1:3] == [(tuple(row.tolist()), 1.0) for row in SKS]
    assert known.tokenize("sks b")["l"][0][1][0] is not None
    assert len(mixed["l"][0]) == 3 + len(plain(clip.tokenize(" and embedding:oth b"))["l"][0]) - 1


def test_the_original_is_untouched():
    clip = sd1_clip(directory=None)
    inner, before = clip.tokenizer.clip_l, dict(vars(clip.tokenizer.clip_l))
    tokens = plain(clip.tokenize("a sks"))
    first = apply_token(clip, token())
    second = apply_token(first, token("oth", DOTTED))
    assert clip.tokenizer.clip_l is inner and vars(inner) == before
    assert type(inner) is FakeSDTokenizer
    assert plain(clip.tokenize("a sks")) == tokens
    assert known_words(clip) == []
    assert known_words(first) == ["sks"]
    assert known_words(second) == ["sks", "oth"]
    assert plain(first.tokenize("oth")) == plain(clip.tokenize("oth"))


def test_clones_keep_the_word():
    clip = apply_token(sd1_clip(), token())
    clone = clip.clone()
    clone.layer_idx = -2
    assert plain(clone.tokenize("sks")) == by_file("embedding:sks")
    deep = copy.deepcopy(clip.tokenizer)
    assert plain(deep.tokenize_with_weights("sks")) == by_file("embedding:sks")


def test_a_later_token_of_the_same_word_wins():
    clip = apply_token(apply_token(sd1_clip(), token()), token("SKS", DOTTED))
    assert known_words(clip) == ["SKS"]
    assert plain(clip.tokenize("sks"))["l"][0] == [(1, 1.0), ((9.0,) * 4, 1.0)]


def test_the_longest_word_is_taken():
    clip = apply_token(apply_token(sd1_clip(), token()), token("sks-v2", DOTTED))
    assert plain(clip.tokenize("sks-v2"))["l"][0] == [(1, 1.0), ((9.0,) * 4, 1.0)]


def test_newer_hosts_give_one_more_argument():
    clip = apply_token(sd1_clip(files=FILES, more=("more",)), token())
    tokens = plain(clip.tokenize("sks embedding:oth"))
    assert [entry[0] for entry in tokens["l"][0][1:]] == [
        *(tuple(row.tolist()) for row in SKS),
        (0.5, 0.0, 0.0, 0.0),
    ]


@pytest.mark.parametrize("form", ["pair", "triple", "longer"])
@pytest.mark.parametrize("directory", ["embeddings", None])
def test_what_the_host_answers_keeps_its_form(form, directory):
    """How many values `_try_get_embedding` returns is the host's business."""
    clip = sd1_clip(files=FILES, directory=directory, form=form)
    knowing = apply_token(clip, token())
    for text in ("a sks, b", "embedding:sks", "(sks:1.2)", "embedding:sks, dog"):
        assert plain(knowing.tokenize(text)) == plain(
            apply_token(sd1_clip(files=FILES, directory=directory), token()).tokenize(text)
        )
    for text in ("embedding:oth dog", "embedding:nope dog", "a dog"):
        assert plain(knowing.tokenize(text)) == plain(clip.tokenize(text))


def test_a_name_ends_where_the_host_ends_it():
    older, newer = (
        plain(apply_token(sd1_clip(form=form), token()).tokenize("a embedding:sks[b"))["l"][0]
        for form in ("pair", "triple")
    )
    vectors = [(tuple(row.tolist()), 1.0) for row in SKS]
    assert newer[2:4] == vectors and len(newer) == 6
    assert vectors[0] not in older


def test_an_answer_of_another_form_is_named():
    clip = apply_token(sd1_clip(form="other"), token())
    with pytest.raises(TokenError, match="_try_get_embedding returned .* update ComfyUI-ZOODiP"):
        clip.tokenize("a sks")


def test_every_encoder_gets_its_own_vectors():
    wide = torch.full((1, 6), 2.0)
    both = Token("sks", {"clip_l": SKS[:1], "clip_g": wide}, {})
    tokens = plain(apply_token(sdxl_clip(), both).tokenize("sks"))
    assert tokens["l"][0][1][0] == (1.0, 2.0, 3.0, 4.0)
    assert tokens["g"][0][1][0] == (2.0,) * 6


@pytest.mark.parametrize(
    ("clip", "vectors", "says"),
    [
        (sd1_clip(), {"clip_l": torch.zeros(1, 5)}, "takes vectors of 4 .* have 5"),
        (sd1_clip(), {"clip_g": torch.zeros(1, 4)}, "has clip_l; .* is for clip_g"),
        (sdxl_clip(), {"clip_l": SKS}, "has clip_g and clip_l; .* is for clip_l"),
        (FakeCLIP(), {"clip_l": SKS}, "no tokenizer that takes embeddings"),
    ],
)
def test_what_does_not_fit_is_refused(clip, vectors, says):
    with pytest.raises(TokenError, match=says):
        apply_token(clip, Token("sks", vectors, {}))


def test_families_have_names():
    assert family_of(sd1_clip()) == "Stable Diffusion 1.x"
    assert family_of(sdxl_clip()) == "SDXL"
    assert family_of(FakeCLIP(qwen=FakeSDTokenizer())) == "a model with qwen"
