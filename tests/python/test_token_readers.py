"""The engine and the nodes read the same token files, and refuse the same with the same words."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
import torch
import zoodip
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from token_cases import CASES, REFUSED
from zoodip import _native

from node.token import TokenError, check_word, read_token

ONES = torch.ones(2, 4)


@pytest.mark.parametrize(
    ("tensors", "metadata"),
    [
        ({"clip_l": ONES}, {"word": "sks", "step": "3"}),
        ({"clip_l": ONES}, {"word": "a b"}),
        ({"clip_l": ONES, "clip_g": torch.ones(3, 5)}, {}),
        ({"clip_h": ONES}, {}),
        ({"clip_l": ONES, "emb_params": ONES + 1}, {}),
        ({"emb_params": ONES.half()}, {}),
        ({"emb_params": ONES.bfloat16(), "other": ONES}, {}),
        ({"emb_params": torch.ones(1024)}, {}),
        ({"emb_params": torch.ones(1, 1280)}, {}),
        ({"<cat-toy>": ONES.double()}, {}),
        ({"flora": ONES}, {}),
        ({"a b": ONES}, {}),
        ({"<>": ONES}, {}),
        ({"text_model.x": ONES}, {}),
        ({}, {}),
        ({"a": ONES, "b": ONES}, {}),
        ({"x.lora_up.weight": ONES}, {}),
        ({"x.hada_w1_a": ONES, "y": ONES}, {}),
        ({"model.diffusion_model.x": ONES, "y": ONES}, {}),
        ({"first_stage_model.x": ONES}, {}),
        ({"text_model.a": ONES, "text_model.b": ONES}, {}),
        ({"theta": ONES, "m": ONES, "v": ONES}, {}),
        ({"clip_l": torch.ones(2, 2, 2)}, {}),
        ({"clip_l": torch.tensor(1.0)}, {}),
        ({"clip_l": torch.ones(0, 4)}, {}),
        ({"clip_l": torch.ones(76, 4)}, {}),
        ({"clip_l": torch.ones(75, 4)}, {}),
        ({"clip_l": torch.ones(1, 65537)}, {}),
        ({"clip_l": ONES.long()}, {}),
        ({"clip_l": ONES.to(torch.float8_e4m3fn)}, {}),
        ({"clip_l": ONES / 0}, {}),
        ({"clip_l": torch.tensor([[1e300]], dtype=torch.float64)}, {}),
    ],
)
def test_engine_and_nodes_read_the_same(tmp_path, tensors, metadata):
    path = tmp_path / "file.safetensors"
    save_file({key: tensor.clone() for key, tensor in tensors.items()}, path, metadata or None)
    try:
        theirs = read_token(path)
    except TokenError as error:
        with pytest.raises(zoodip.Error) as refused:
            _native.read_token(path)
        assert plain(refused.value) == plain(error)
        return
    word, found, kept = _native.read_token(path)
    assert word == theirs.word
    assert kept == theirs.metadata
    assert found.keys() == theirs.vectors.keys()
    assert all(torch.equal(found[key], theirs.vectors[key]) for key in found)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_word_of_other_trainers_files(tmp_path, case):
    path = tmp_path / "mycat.safetensors"
    stored = {name: torch.randn(shape) for name, shape in case.tensors.items()}
    save_file(stored, path, case.metadata or None)
    token = read_token(path, case.asked)
    word, found, _ = _native.read_token(path, case.asked)
    assert word == token.word == case.word
    assert found.keys() == token.vectors.keys() == case.vectors.keys()
    for encoder, key in case.vectors.items():
        expected = stored[key].reshape(-1, stored[key].shape[-1])
        assert torch.equal(found[encoder], expected)
        assert torch.equal(token.vectors[encoder], expected)
    assert list(token.others) == case.others
    assert _native.others_of_token(path, case.asked) == case.others


@pytest.mark.parametrize(("tensors", "says"), REFUSED.values(), ids=REFUSED)
def test_files_in_which_no_word_is_found(tmp_path, tensors, says):
    path = tmp_path / "mycat.safetensors"
    save_file({name: torch.randn(shape) for name, shape in tensors.items()}, path)
    for read, error in ((read_token, TokenError), (_native.read_token, zoodip.Error)):
        with pytest.raises(error) as refused:
            read(path)
        assert says in str(refused.value)


def plain(error: Exception) -> str:
    """A message without its path; how each spells a type and joins its clauses is its own."""
    said = str(error).split("file.safetensors: ")[1].replace("; ", ". ").capitalize()
    return said.split(" holds torch")[0].split(" holds i64")[0].split(" holds f8")[0]


@pytest.fixture(scope="module")
def any_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("word") / "x.safetensors"
    save_file({"clip_l": ONES}, path)
    return path


WORDS = st.text("aeinfty019_.-E+xX ", max_size=8) | st.text(max_size=4)


@settings(max_examples=1000, deadline=None)
@given(WORDS.filter(bool))
def test_engine_and_nodes_take_the_same_words(any_file, word):
    try:
        check_word(word)
    except TokenError:
        with pytest.raises(zoodip.Error, match="^word: '"):
            _native.read_token(any_file, word)
    else:
        assert _native.read_token(any_file, word)[0] == word


def test_a_damaged_file_is_damaged_for_both(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({"clip_l": ONES}, path)
    whole = path.read_bytes()
    length = struct.unpack("<Q", whole[:8])[0]
    for damaged in (b"", whole[:7], whole[: 8 + length - 1], whole[:-1], whole + b"x"):
        path.write_bytes(damaged)
        with pytest.raises(TokenError, match="is damaged or no safetensors file"):
            read_token(path)
        with pytest.raises(zoodip.Error, match=r"x.safetensors: .*(empty|truncated|damaged)"):
            _native.read_token(path)
