"""Saving into the embeddings folder, and the description of a token."""

from __future__ import annotations

import json

import pytest
import torch
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


@pytest.mark.parametrize("name", ["a/b", "../x", "a b", "1.5", ".."])
def test_bad_names(tmp_path, name):
    with pytest.raises(TokenError, match="cannot be the name of an embedding"):
        save_token(tmp_path, token(), name, "number")
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
            {"name": "1.jpg", "sha256": "1", "caption": "a photo of a {}"},
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
        "pictures: 3 (a photo of a {})",
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
