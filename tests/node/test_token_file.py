"""Token files: ours, those of other tools, and everything that is none."""

from __future__ import annotations

import json
import os
import struct

import pytest
import torch
from comfyui_zoodip.node.token import (
    Token,
    TokenError,
    check_file_name,
    check_word,
    read_token,
    same_token,
    write_token,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save, save_file

VECTORS = torch.arange(8.0).reshape(2, 4) / 7
METADATA = {"word": "sks", "step": "30", "zoodip": '{"zoodip": "0.1.0"}', "format": "pt"}


@pytest.fixture
def token() -> Token:
    return Token("sks", {"clip_l": VECTORS}, METADATA)


def test_what_is_written_is_read(tmp_path, token):
    write_token(tmp_path / "x.safetensors", token)
    assert same_token(read_token(tmp_path / "x.safetensors"), token)
    assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors"]


def test_both_encoders_and_the_word_are_written(tmp_path):
    both = Token("new", {"clip_l": VECTORS, "clip_g": VECTORS.t()[:, :1]}, {"step": "1"})
    write_token(tmp_path / "x.safetensors", both)
    found = read_token(tmp_path / "x.safetensors")
    assert found.metadata == {"step": "1", "word": "new", "format": "pt"}
    assert torch.equal(found.vectors["clip_g"], both.vectors["clip_g"])
    assert same_token(found, found) and not same_token(found, both)


def test_the_word_of_a_file(tmp_path, token):
    write_token(tmp_path / "my file.safetensors", token)
    assert read_token(tmp_path / "my file.safetensors").word == "sks"
    assert read_token(tmp_path / "my file.safetensors", "other").word == "other"
    with pytest.raises(TokenError, match="cannot name the new token"):
        read_token(tmp_path / "my file.safetensors", "my file")
    save_file({"clip_l": VECTORS}, tmp_path / "bear.v2.safetensors")
    assert read_token(tmp_path / "bear.v2.safetensors").word == "bear.v2"
    save_file({"clip_l": VECTORS}, tmp_path / "a b.safetensors", {"word": "c d"})
    with pytest.raises(TokenError, match="can be used as a word in prompts .found 'c d'"):
        read_token(tmp_path / "a b.safetensors")


@pytest.mark.parametrize(
    ("tensors", "encoder"),
    [
        ({"emb_params": VECTORS}, "clip_l"),
        ({"emb_params": VECTORS.half(), "other": VECTORS}, "clip_l"),
        ({"anything": VECTORS[0]}, "clip_l"),
        ({"clip_h": VECTORS}, "clip_h"),
        ({"emb_params": torch.ones(1, 1024)}, "clip_h"),
        ({"x": torch.ones(1, 1280).bfloat16()}, "clip_g"),
    ],
)
def test_files_of_other_tools(tmp_path, tensors, encoder):
    save_file(tensors, tmp_path / "x.safetensors")
    found = read_token(tmp_path / "x.safetensors")
    (tensor,) = found.vectors.values()
    assert list(found.vectors) == [encoder]
    assert tensor.dtype == torch.float32 and tensor.ndim == 2
    expected = next(iter(tensors.values())).float()
    assert torch.equal(tensor, expected.reshape(-1, expected.shape[-1]))


def test_pickles_of_other_tools(tmp_path):
    a1111 = {"string_to_token": {"*": 265}, "string_to_param": {"*": VECTORS}, "name": "bear"}
    torch.save(a1111, tmp_path / "x.pt")
    found = read_token(tmp_path / "x.pt")
    assert found.word == "bear" and torch.equal(found.vectors["clip_l"], VECTORS)
    torch.save({"string_to_param": {"*": torch.nn.Parameter(VECTORS)}}, tmp_path / "y.pt")
    assert read_token(tmp_path / "y.pt").word == "y"
    assert not read_token(tmp_path / "y.pt").vectors["clip_l"].requires_grad
    torch.save({"<cat-toy>": VECTORS[0]}, tmp_path / "learned embeds.bin")
    assert read_token(tmp_path / "learned embeds.bin").word == "cat-toy"


@pytest.mark.parametrize(
    ("key", "word"),
    [
        ("<cat-toy>", "cat-toy"),
        ("bear", "bear"),
        ("flora", "flora"),  # no LoRA
        ("decoder.v2", "decoder.v2"),  # nor a part of a model
        ("<>", "z"),
        ("*", "z"),
        ("emb_params", "z"),
    ],
)
def test_the_only_tensor_names_the_word_as_in_diffusers(tmp_path, key, word):
    save_file({key: VECTORS[0]}, tmp_path / "z.safetensors")
    assert read_token(tmp_path / "z.safetensors").word == word
    save_file({key: VECTORS[0]}, tmp_path / "z.safetensors", {"word": "other"})
    assert read_token(tmp_path / "z.safetensors").word == "other"


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        ({"lora_unet.lora_up.weight": VECTORS}, "a LoRA, not a token.*has one tensor, lora_unet"),
        ({"model.diffusion_model.x": VECTORS, "y": VECTORS}, "a checkpoint, not a token"),
        ({"text_model.a": VECTORS, "text_model.b": VECTORS}, "a part of a model"),
        ({"theta": VECTORS, "m": VECTORS, "v": VECTORS}, "the state of a stopped training"),
        ({"a": VECTORS, "b": VECTORS}, "this one has 2 tensors, the first a"),
        ({}, "this one has no tensors"),
        (
            {"clip_l": torch.ones(2, 2, 2)},
            r"clip_l has shape \[2, 2, 2\], expected \[vectors, width\]",
        ),
        ({"clip_l": torch.ones(0, 4)}, r"has shape \[0, 4\]"),
        ({"clip_l": torch.ones(2, 4).long()}, "holds torch.int64"),
        ({"clip_l": torch.ones(76, 4)}, "has 76 vectors, and the text encoder reads 75"),
        ({"clip_l": torch.tensor([[1.0, float("nan")]])}, "holds NaN or infinity"),
        ({"clip_l": torch.tensor([[1e300]], dtype=torch.float64)}, "holds NaN or infinity"),
    ],
)
def test_what_is_no_token(tmp_path, tensors, says):
    path = tmp_path / "x.safetensors"
    save_file({key: tensor.clone() for key, tensor in tensors.items()}, path)
    with pytest.raises(TokenError, match=says) as error:
        read_token(path)
    assert str(path) in str(error.value)


def test_pickles_that_are_no_token(tmp_path):
    path = tmp_path / "x.pt"
    with pytest.raises(TokenError, match="there is no such token file"):
        read_token(path)
    for stored, says in [
        ([VECTORS], "holds a list"),
        ({"string_to_param": {"*": 3}}, "a int is where vectors belong"),
        ({"clip_l": VECTORS.to_sparse()}, "where vectors belong"),
        ({"clip_l": torch.ones(1).expand(2**30, 2**10)}, "has 1073741824 vectors"),
        ({"state_dict": 1, "model.diffusion_model.x": 2}, "a checkpoint"),
    ]:
        torch.save(stored, path)
        with pytest.raises(TokenError, match=says):
            read_token(path)
    with path.open("wb") as file:
        file.truncate(65 * 2**20)
    with pytest.raises(TokenError, match="has 68 MB, and a token takes a few kilobytes"):
        read_token(path)


def test_code_in_a_pickle_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    torch.save({"string_to_param": Evil()}, tmp_path / "x.pt")
    with pytest.raises(TokenError, match="not safe to load"):
        read_token(tmp_path / "x.pt")
    assert not (tmp_path / "ran").exists()


SAFETENSORS = save({"clip_l": VECTORS}, METADATA)


def read_bytes(folder, contents: bytes, ending: str) -> None:
    """A token, or one clear error."""
    path = folder / ("x" + ending)
    path.write_bytes(contents)
    try:
        token = read_token(path)
    except TokenError as error:
        assert str(path) in str(error)
        return
    for tensor in token.vectors.values():
        assert torch.isfinite(tensor).all() and tensor.ndim == 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


def test_truncated_files(folder):
    for size in range(len(SAFETENSORS)):
        path = folder / "x.safetensors"
        path.write_bytes(SAFETENSORS[:size])
        with pytest.raises(TokenError, match="is damaged or no safetensors file"):
            read_token(path)


@settings(max_examples=1500, deadline=None)
@given(st.integers(0, len(SAFETENSORS) * 8 - 1), st.binary(max_size=3))
def test_flipped_bits(folder, bit, tail):
    damaged = bytearray(SAFETENSORS)
    damaged[bit // 8] ^= 1 << bit % 8
    read_bytes(folder, bytes(damaged) + tail, ".safetensors")


DTYPES = ["F32", "F16", "BF16", "F64", "F8_E4M3", "F4", "F6_E2M3", "I64", "BOOL", "C64", "X", 3]


@settings(max_examples=500, deadline=None)
@given(
    st.sampled_from(DTYPES),
    st.lists(st.integers(-1, 2**63), max_size=3),
    st.tuples(st.integers(0, 2**63), st.integers(0, 2**63)),
    st.binary(max_size=64),
)
def test_headers_of_all_kinds(folder, dtype, shape, offsets, data):
    header = json.dumps({"clip_l": {"dtype": dtype, "shape": shape, "data_offsets": offsets}})
    read_bytes(folder, struct.pack("<Q", len(header)) + header.encode() + data, ".safetensors")


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_type_that_the_library_knows(folder, dtype):
    header = {"clip_l": {"dtype": dtype, "shape": [1, 8], "data_offsets": [0, 0]}}
    for size in (4, 6, 8, 16, 32, 64):
        header["clip_l"]["data_offsets"] = [0, size]
        text = json.dumps(header).encode()
        read_bytes(folder, struct.pack("<Q", len(text)) + text + b"\x11" * size, ".safetensors")


@pytest.fixture(scope="module")
def pickled(folder) -> bytes:
    torch.save({"string_to_param": {"*": VECTORS}, "name": "bear"}, folder / "good.pt")
    return (folder / "good.pt").read_bytes()


@settings(max_examples=500, deadline=None)
@given(st.data())
def test_damaged_pickles(folder, pickled, data):
    damaged = bytearray(pickled[: data.draw(st.integers(0, len(pickled)))])
    for _ in range(data.draw(st.integers(0, 3)) if damaged else 0):
        bit = data.draw(st.integers(0, len(damaged) * 8 - 1))
        damaged[bit // 8] ^= 1 << bit % 8
    read_bytes(folder, bytes(damaged), ".pt")


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_arbitrary_bytes(folder, contents):
    for ending in (".safetensors", ".pt", ".bin"):
        read_bytes(folder, contents, ending)


def test_a_failed_write_leaves_what_was_there(tmp_path, token, monkeypatch):
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"before")

    def fail(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fail)
        with pytest.raises(TokenError, match="x.safetensors: cannot be written .No space left"):
            write_token(path, token)
    assert path.read_bytes() == b"before"
    assert [each.name for each in tmp_path.iterdir()] == ["x.safetensors"]
    with pytest.raises(TokenError, match="cannot be written"):
        write_token(tmp_path / "no" / "x.safetensors", token)
    with pytest.raises(TokenError, match="cannot be written"):
        write_token(path / "x.safetensors", token)


def test_a_file_that_was_read_can_be_replaced(tmp_path, token):
    path = tmp_path / "x.safetensors"
    write_token(path, token)
    first = read_token(path)
    write_token(path, Token("sks", {"clip_l": VECTORS + 1}, METADATA))
    assert torch.equal(first.vectors["clip_l"], VECTORS)
    assert torch.equal(read_token(path).vectors["clip_l"], VECTORS + 1)


def test_read_tensors_are_ordinary_ones(tmp_path, token):
    write_token(tmp_path / "x.safetensors", token)
    with torch.inference_mode():
        assert not read_token(tmp_path / "x.safetensors").vectors["clip_l"].is_inference()


@pytest.mark.parametrize("word", ["sks", "a-b_c.d", "v2", "1x", "x.", "-a"])
def test_words(word):
    check_word(word)
    check_file_name(word)


@pytest.mark.parametrize(
    "word",
    ["", " ", "a b", "(x)", "a:b", "\u00e9", "12", "1.5", "-3", "..", "-", "1e5", "nan", "Inf"],
)
def test_what_is_no_word(word):
    with pytest.raises(TokenError, match="cannot name the new token: use letters"):
        check_word(word)
    with pytest.raises(TokenError, match="cannot be the name of an embedding"):
        check_file_name(word)


@pytest.mark.parametrize(
    ("word", "vectors", "says"),
    [
        ("a b", {"clip_l": VECTORS}, "cannot name"),
        ("sks", {}, "has no vectors"),
        ("sks", {"clip_l": VECTORS.double()}, "needs float32 vectors"),
        ("sks", {"clip_l": VECTORS[0]}, r"clip_l has shape \[4\]"),
        ("sks", {"clip_l": VECTORS / 0}, "holds NaN"),
    ],
)
def test_tokens_that_cannot_be(word, vectors, says):
    with pytest.raises(TokenError, match=says):
        Token(word, vectors, {})


@pytest.mark.parametrize("ending", [".pt", ".pti", ".bin"])
def test_other_trainers_names_are_known_in_pickles_too(tmp_path, ending):
    path = tmp_path / f"mycat{ending}"
    torch.save({"text_encoders_0": VECTORS, "emp_params_out": VECTORS}, path)
    token = read_token(path)
    assert token.word == "mycat" and torch.equal(token.vectors["clip_l"], VECTORS)
    assert token.others == ("emp_params_out (an output vector)",)
