"""Saving into the embeddings folder, and the description of a token."""

from __future__ import annotations

import json
import re
import time

import pytest
import torch
from comfyui_zoodip.node import token_folder
from comfyui_zoodip.node.token import Token, TokenError, read_token
from comfyui_zoodip.node.token_folder import save_token
from comfyui_zoodip.node.token_info import describe_token


def token(value=1.0, **metadata) -> Token:
    return Token("sks", {"clip_l": torch.full((1, 4), float(value))}, metadata)


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_folder_is_made_and_the_word_is_the_name(tmp_path):
    folder = tmp_path / "models" / "embeddings"
    assert save_token(folder, token(), "", "number") == "sks"
    assert save_token(folder, token(), " other.safetensors ", "number") == "other"
    assert names(folder) == ["other.safetensors", "sks.safetensors"]


def test_another_token_gets_a_number_and_the_same_does_not(tmp_path):
    saved = [save_token(tmp_path, token(value), "", "number") for value in (1, 2, 3, 2, 1)]
    assert saved == ["sks", "sks_2", "sks_3", "sks_2", "sks"]
    assert save_token(tmp_path, token(1, step="9"), "", "number") == "sks_4"
    assert read_token(tmp_path / "sks.safetensors").vectors["clip_l"][0, 0] == 1


def test_a_damaged_file_and_one_of_another_kind_are_kept(tmp_path):
    (tmp_path / "sks.safetensors").write_bytes(b"damaged")
    (tmp_path / "sks_2.pt").write_bytes(b"other")
    assert save_token(tmp_path, token(), "", "number") == "sks_3"
    assert (tmp_path / "sks.safetensors").read_bytes() == b"damaged"


def test_replace(tmp_path):
    save_token(tmp_path, token(1), "", "number")
    assert save_token(tmp_path, token(2), "", "replace") == "sks"
    assert names(tmp_path) == ["sks.safetensors"]
    assert read_token(tmp_path / "sks.safetensors").vectors["clip_l"][0, 0] == 2


@pytest.mark.parametrize(
    "name", ["../x", "a b", "1.5", "..", "a/../b", "/a", "a//b", "a/", "a\\..\\b", "C:/a"]
)
def test_bad_names(tmp_path, name):
    with pytest.raises(TokenError, match="cannot be the name of an embedding"):
        save_token(tmp_path, token(), name, "number")
    assert names(tmp_path) == []


def test_subfolders_are_made_and_numbered_each_for_itself(tmp_path):
    assert save_token(tmp_path, token(1), "dogs/big/mine", "number") == "dogs/big/mine"
    assert save_token(tmp_path, token(2), "dogs\\big\\mine", "number") == "dogs/big/mine_2"
    assert save_token(tmp_path, token(2), "dogs/mine.safetensors", "number") == "dogs/mine"
    assert names(tmp_path / "dogs" / "big") == ["mine.safetensors", "mine_2.safetensors"]


def test_a_subfolder_that_is_a_file(tmp_path):
    (tmp_path / "dogs").write_bytes(b"")
    with pytest.raises(TokenError, match="dogs: the embeddings folder cannot be made"):
        save_token(tmp_path, token(), "dogs/mine", "number")


def test_word_step_and_time_are_filled_in(tmp_path, monkeypatch):
    moment = time.struct_time((2026, 3, 4, 5, 6, 7, 0, 0, 0))
    monkeypatch.setattr(token_folder.time, "localtime", lambda: moment)
    filled = {
        "%word%-%step%": "sks-600",
        "%year%-%month%-%day%/%hour%%minute%%second%_": "2026-03-04/050607_",
    }
    for name, expected in filled.items():
        assert save_token(tmp_path, token(step="600"), name, "number") == expected
    assert save_token(tmp_path, token(), "a%step%", "number") == "a0"
    with pytest.raises(TokenError, match="'a%epoch%' has a % that stands for nothing.*%step%"):
        save_token(tmp_path, token(), "a%epoch%", "number")


@pytest.mark.parametrize("long", ["x" * 300, "d" * 300 + "/x", "x" * 230])
def test_a_name_that_is_too_long_is_refused_before_anything_is_made(tmp_path, long):
    folder = tmp_path / "embeddings"
    with pytest.raises(TokenError, match="is too long: it has .* characters.*shorter name"):
        save_token(folder, token(), long, "number")
    assert names(tmp_path) == []


def test_the_longest_name_that_is_taken_can_be_written_and_numbered(tmp_path):
    with pytest.raises(TokenError, match="too long") as refused:
        save_token(tmp_path, token(), "x" * 300, "number")
    longest = int(re.search(r"room for (\d+)", str(refused.value))[1])
    for value in range(12):
        save_token(tmp_path, token(value), "x" * longest, "number")
    assert len(names(tmp_path)) == 12


def test_a_path_that_is_too_long(tmp_path):
    with pytest.raises(TokenError, match="too long: with its folders it would take"):
        save_token(tmp_path, token(), "/".join(["d" * 190] * 22), "number")
    assert names(tmp_path) == []


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(TokenError, match="the embeddings folder cannot be made"):
        save_token(tmp_path / "file" / "embeddings", token(), "", "number")


def test_a_description():
    record = {
        "zoodip": "0.1.0",
        "family": "sd1",
        "word": "sks",
        "initialiser": "dog",
        "settings": {"n": 2, "mu": 0.001, "flip": False},
        "model": "ab" * 32,
        "pictures": [
            {"name": "0.jpg", "sha256": "0", "caption": "a photo of a {}"},
            {"name": "1.jpg", "sha256": "1", "captions": ["a photo of a {}", "a red {}"]},
            {"name": "2.jpg"},
        ],
    }
    vectors = torch.tensor([[3.0, 4, 0, 0], [0, 0, 0, 0.5]])
    described = Token(
        "sks",
        {"clip_l": vectors},
        {"word": "sks", "step": "30", "zoodip": json.dumps(record), "format": "pt", "note": "x"},
    )
    assert describe_token(described).splitlines() == [
        "word: sks",
        "clip_l: 2 vectors of 4 numbers, norm 5.000, 0.500",
        "steps: 30",
        "made by: ZOODiP 0.1.0",
        "family: sd1",
        "initialiser: dog",
        "settings: n 2, mu 0.001, flip false",
        f"model: {'ab' * 32}",
        "pictures: 3 (a photo of a {}; a red {})",
        "note: x",
    ]


@pytest.mark.parametrize("record", ["", "{", "3", "null", '"x"', "[]"])
def test_a_record_that_cannot_be_read(record):
    text = describe_token(token(zoodip=record))
    assert text.splitlines()[2] == "made by: ZOODiP; its record of how cannot be read"


def test_a_token_of_another_tool():
    assert describe_token(token()).splitlines() == [
        "word: sks",
        "clip_l: 1 vector of 4 numbers, norm 2.000",
        "made by: another tool, or unknown",
    ]
