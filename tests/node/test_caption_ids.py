"""Captions as ids, by the tokenizer of the wired CLIP."""

from __future__ import annotations

import pytest
import torch
from comfyui_zoodip.node.caption_ids import initialiser, prepare_captions, prepare_plain
from comfyui_zoodip.node.captions import CaptionError
from comfyui_zoodip.node.token import Token, TokenError
from comfyui_zoodip.node.token_clip import apply_token
from fake_host import END, START, FakeCLIP, FakeSDTokenizer, known_words, sd1_clip, sdxl_clip
from hypothesis import given
from hypothesis import strategies as st

OTHER = torch.tensor([[1.0, 2, 3, 4], [5, 6, 7, 8]])
A, PHOTO, OF, DOG, AND, BIG = 100, 101, 102, 104, 108, 109


def clip_with_files():
    files = {"oth": OTHER, "wide": torch.zeros(1, 5), "one": OTHER[0]}
    return sd1_clip(files=files)


def one(clip, caption, **chosen):
    return prepare_captions(clip, [caption], "sks", **chosen)[0]


def test_a_caption():
    found = one(sd1_clip(), "a photo of a {}")
    assert found.ids.dtype == torch.int64 and found.ids.shape == (1, 77)
    assert found.ids[0].tolist() == [START, A, PHOTO, OF, A, 0] + [END] * 71
    assert found.places == (5,)
    assert found.fixed_positions == () and found.fixed_vectors == {}


def test_a_word_of_several_vectors_and_places():
    found = one(sd1_clip(), "{}, SKS{}s and asks", vectors=3)
    symbols = [1000 + ord(c) for c in "asks"]
    assert found.places == (1, 5, 8)
    expected = [START, 0, 0, 0, 1000 + ord(","), 0, 0, 0, 0, 0, 0, 1000 + ord("s"), AND, *symbols]
    assert found.ids[0, :17].tolist() == expected
    assert found.fixed_positions == () and found.fixed_vectors == {}


def test_earlier_words_and_files_keep_their_vectors():
    clip = apply_token(clip_with_files(), Token("bear", {"clip_l": OTHER[1:] * 3}, {}))
    found = one(clip, "a bear {} (embedding:oth:1.2) dog")
    # Brackets are text, so ":1.2)" belongs to the name, as it does in a prompt after "\\(".
    assert found.places == (3,)
    assert found.fixed_positions == (2,)
    assert torch.equal(found.fixed_vectors["clip_l"], OTHER[1:] * 3)


def test_embeddings_of_files():
    found = one(clip_with_files(), "{} embedding:oth, dog embedding:one")
    assert found.places == (1,)
    assert found.fixed_positions == (2, 3, 6)
    assert torch.equal(found.fixed_vectors["clip_l"], torch.cat([OTHER, OTHER[:1]]))
    assert found.ids[0, 1:8].tolist() == [0, 0, 0, 1000 + ord(","), DOG, 0, END]


@given(st.text(alphabet="a (){}\\:1.5,dog", max_size=30))
def test_brackets_and_backslashes_are_literal(text):
    found = prepare_plain(sd1_clip(), text)
    tokenizer = FakeSDTokenizer()
    assert (
        found.ids[0, : 1 + len(text)].tolist()
        == (tokenizer.tokenizer(text)["input_ids"] + [END] * 77)[: 1 + len(text)]
    )


def test_learning_a_known_word_again():
    clip = apply_token(sd1_clip(), Token("sks", {"clip_l": OTHER}, {}))
    found = one(clip, "a {}")
    assert found.places == (2,) and found.fixed_vectors == {}
    assert known_words(clip) == ["sks"]


def test_75_tokens_fit():
    assert one(sd1_clip(), "{} " + "dog " * 74).places == (1,)


@pytest.mark.parametrize(
    ("caption", "says"),
    [
        ("a dog", "'a dog' does not contain the word: put {}"),
        ("asks", "does not contain the word"),
        ("{} " + "dog " * 75, "has 76 tokens, and the text encoder reads 75"),
        ("{} " + "dog " * 200, "has 201 tokens"),
        ("{} embedding:nope", "embedding:nope, and there is no such embedding"),
        ("{} embedding:wide", "an embedding of 5 numbers, and this CLIP takes 4"),
    ],
)
def test_captions_that_cannot_be_used(caption, says):
    with pytest.raises(CaptionError, match=says):
        one(clip_with_files(), caption)


def test_clips_that_cannot_be_used():
    with pytest.raises(CaptionError, match="is that of Flux .*needs one of Stable Diffusion 1.x, "):
        prepare_captions(FakeCLIP(clip_l=FakeSDTokenizer(), t5xxl=FakeSDTokenizer()), ["{}"], "sks")
    with pytest.raises(CaptionError, match="read as other tokens by clip_g than by clip_l"):
        two = FakeCLIP(clip_l=FakeSDTokenizer(), clip_g=Stammering(width=6))
        prepare_captions(two, ["{} dog"], "sks")
    with pytest.raises(CaptionError, match="reads 248 tokens at once"):
        one(sd1_clip(length=248), "{}")
    with pytest.raises(TokenError, match="cannot name"):
        prepare_captions(sd1_clip(), ["{}"], "s k s")


class Stammering(FakeSDTokenizer):
    def tokenize_with_weights(self, text, *more, **named):
        return super().tokenize_with_weights(f"a {text}", *more, **named)


def test_two_text_encoders_read_the_same_and_have_their_own_vectors():
    clip = sdxl_clip(files={"l": OTHER[:1]}, files_g={"l": torch.ones(1, 6)})
    found = one(clip, "a photo of {} embedding:l", vectors=2)
    assert found.places == (4,)
    assert found.ids[0, :8].tolist() == [START, A, PHOTO, OF, 0, 0, 0, END]
    assert found.ids[0, 8:].unique().tolist() == [END]  # although the second one pads with 0
    assert found.fixed_positions == (6,)
    assert torch.equal(found.fixed_vectors["clip_l"], OTHER[:1])
    assert torch.equal(found.fixed_vectors["clip_g"], torch.ones(1, 6))
    start = initialiser(clip, "embedding:l")
    assert {key: tuple(value.shape) for key, value in start.items()} == {
        "clip_l": (1, 4),
        "clip_g": (1, 6),
    }


def test_an_embedding_that_one_text_encoder_lacks():
    with pytest.raises(CaptionError, match="no such embedding for all text encoders"):
        one(sdxl_clip(files={"l": OTHER[:1]}), "{} embedding:l")


def test_the_empty_prompt():
    found = prepare_plain(sd1_clip(), "")
    assert found.ids[0].tolist() == [START] + [END] * 76
    assert found.places == () and found.fixed_vectors == {}


def test_initialisers():
    clip = apply_token(clip_with_files(), Token("bear", {"clip_l": OTHER[:1]}, {}))
    assert initialiser(clip, "dog") == [DOG]
    assert initialiser(clip, " Dog ") == [DOG]
    assert torch.equal(initialiser(clip, "bear")["clip_l"], OTHER[:1])
    assert torch.equal(initialiser(clip, "embedding:one")["clip_l"], OTHER[:1])


def test_initialisers_of_several_words_or_vectors():
    clip = apply_token(clip_with_files(), Token("bear", {"clip_l": OTHER * 3}, {}))
    assert initialiser(clip, "big dog") == initialiser(clip, "big, dog") == [BIG, DOG]
    assert torch.equal(initialiser(clip, "bear")["clip_l"], OTHER * 3)
    assert torch.equal(initialiser(clip, "embedding:oth")["clip_l"], OTHER)
    mixed = initialiser(clip, "bear embedding:one")["clip_l"]
    assert torch.equal(mixed, torch.cat([OTHER * 3, OTHER[:1]]))
    assert mixed.dtype == torch.float32 and not mixed.is_inference()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "needs a word .* got ''"),
        (" , ", "needs a word .* got ' , '"),
        ("dog big-dog", r"'big-dog' is 3 tokens \(big, -, dog\).* single words in it: big, dog"),
        ("ab dog dog", r"'ab' is 2 tokens \(a, b\).* use a plainer word"),
        ("xy", r"is 2 tokens \(x, y\).* use a plainer word"),
        ("dog embedding:oth", "'dog embedding:oth' has learned words beside plain ones"),
        ("embedding:oth dog", "has learned words beside plain ones"),
        ("embedding:nope", "no such embedding"),
    ],
)
def test_initialisers_that_cannot_be_used(text, says):
    with pytest.raises(CaptionError, match=says):
        initialiser(clip_with_files(), text)


def test_nothing_made_in_inference_mode_stays_in_it():
    with torch.inference_mode():
        found = one(clip_with_files(), "{} embedding:oth")
    assert not found.ids.is_inference() and not found.fixed_vectors["clip_l"].is_inference()
