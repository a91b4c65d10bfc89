"""Folders of pictures in the layouts that trainers have, read by the engine and by the nodes."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import zoodip
from caption_cases import CAPTIONS, REFUSED
from load_folder import load_folder
from PIL import Image
from zoodip import _native

from node import pictures as nodes

DEFAULT = "a default {}"


def add_picture(folder: Path, name: str, seed: int = 0) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / name, "PNG")


def fill(folder: Path, pictures: list[str], texts: dict[str, str | bytes]) -> Path:
    for seed, name in enumerate(pictures):
        add_picture(folder, name, seed)
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def captions(folder: Path) -> dict[str, str]:
    """Name -> caption, as the engine and the node read it alike."""
    read = zoodip.read_folder(folder)
    _, by_node, names = load_folder(nodes, folder, 64, DEFAULT)
    assert names == [each.name for each in read.pictures for _ in range(each.repeats)]
    assert by_node == [
        each.caption or DEFAULT for each in read.pictures for _ in range(each.repeats)
    ]
    return {each.name: each.caption for each in read.pictures}


def left_out(folder: Path) -> dict[str, str]:
    return {each.name: each.why for each in zoodip.read_folder(folder).left_out}


@pytest.mark.parametrize(("contents", "expected"), CAPTIONS.values(), ids=CAPTIONS)
def test_a_caption_file_is_read(tmp_path, contents, expected):
    assert captions(fill(tmp_path, ["0.png"], {"0.txt": contents})) == {"0.png": expected or ""}


@pytest.mark.parametrize(("contents", "says"), REFUSED.values(), ids=REFUSED)
def test_a_caption_in_another_encoding_is_refused_by_both(tmp_path, contents, says):
    fill(tmp_path, ["0.png"], {"0.txt": contents})
    with pytest.raises(zoodip.Error) as by_engine:
        zoodip.read_folder(tmp_path)
    with pytest.raises(nodes.PictureError) as by_node:
        load_folder(nodes, tmp_path, 64, DEFAULT)
    assert str(by_engine.value) == str(by_node.value)
    assert str(by_engine.value).startswith("0.txt: ") and says in str(by_engine.value)


@pytest.mark.parametrize(
    "text",
    ["a.txt", "a.TXT", "A.txt", "A.Txt", "a.caption", "a.CAPTION", "a.png.txt", "A.PNG.TXT"]
    + ["a.png.caption"],
)
def test_names_of_caption_files(tmp_path, text):
    folder = fill(tmp_path, ["a.png"], {text: "of {}"})
    assert captions(folder) == {"a.png": "of {}"}
    assert zoodip.read_folder(folder).pictures[0].source == text
    assert zoodip.read_folder(folder).text == "1 picture, 1 caption"


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC"), ("NFD", "NFD")])
def test_unicode_forms_of_names(tmp_path, forms):
    picture, text = (unicodedata.normalize(form, "caf\u00e9") for form in forms)
    folder = fill(tmp_path, [f"{picture}.png"], {f"{text}.TXT": "of {}"})
    assert list(captions(folder).values()) == ["of {}"]
    rows = json.dumps({"file_name": f"{text}.png", "text": "row {}"}) + "\n"
    (tmp_path / f"{text}.TXT").unlink()
    fill(tmp_path, [], {"metadata.jsonl": rows})
    assert list(captions(folder).values()) == ["row {}"]


def test_of_several_captions_the_first_that_says_something_is_taken(tmp_path):
    row = json.dumps({"file_name": "a.png", "text": "row"})
    names = ["a.txt", "a.caption", "a.png.txt", "a.png.caption"]
    folder = fill(tmp_path, ["a.png"], {name: name for name in names} | {"metadata.jsonl": row})
    for name in names:
        assert captions(folder) == {"a.png": name}
        (folder / name).write_text("\n")
        assert left_out(folder)[name] == "empty"
    assert captions(folder) == {"a.png": "row"}


def test_captions_that_are_not_taken_are_named(tmp_path):
    row = json.dumps({"file_name": "a.png", "text": "row"})
    texts = {"a.txt": "of {}", "A.TXT": "other", "a.caption": "x", "b.txt": "y"}
    folder = fill(tmp_path, ["a.png"], {**texts, "metadata.jsonl": row})
    assert captions(folder) == {"a.png": "of {}"}
    assert left_out(folder) == {
        "A.TXT": "a.png has its caption from a.txt",
        "a.caption": "a.png has its caption from a.txt",
        "b.txt": "no picture is called so",
        "1 captions of metadata.jsonl": "those pictures have text files",
    }
    assert zoodip.read_folder(folder).lacks_something


def test_one_caption_serves_two_pictures_of_one_name(tmp_path):
    folder = fill(tmp_path, ["a.png", "a.jpg"], {"a.txt": "of {}"})
    assert captions(folder) == {"a.jpg": "of {}", "a.png": "of {}"}
    assert zoodip.read_folder(folder).text == "2 pictures, 2 captions"


# ------------------------------------------------------------------------------- metadata.jsonl


@pytest.mark.parametrize(
    ("name", "key", "text_key"),
    [
        ("a.png", "file_name", "text"),
        ("./A.PNG", "file_name", "text"),
        ("/data/train/a.png", "image_path", "caption"),
        ("C:\\data\\a.png", "image_path", "caption"),
        ("a.png", "image", "prompt"),
    ],
)
def test_rows_of_metadata(tmp_path, name, key, text_key):
    row = {key: name, text_key: " a {}\non grass ", "width": 3}
    text = "\ufeff\n" + json.dumps(row, ensure_ascii=False) + "\r\n\r\n"
    assert captions(fill(tmp_path, ["a.png"], {"metadata.jsonl": text})) == {
        "a.png": "a {} on grass"
    }
    assert zoodip.read_folder(tmp_path).pictures[0].source == "metadata.jsonl"


def test_rows_that_are_not_used_are_named(tmp_path):
    rows = [{"file_name": "a.png", "text": "x"}, {"file_name": "gone.png", "text": "y"}]
    rows += [{"file_name": "b.png"}, {"text": "z"}, [], {"file_name": 3, "text": "z"}]
    text = "\n".join(map(json.dumps, rows))
    folder = fill(tmp_path, ["a.png", "b.png"], {"metadata.jsonl": text})
    assert captions(folder) == {"a.png": "x", "b.png": ""}
    assert left_out(folder) == {
        "metadata.jsonl: gone.png": "no such picture",
        "metadata.jsonl: 4 lines": "without file_name or text",
    }


def test_lines_of_metadata_that_are_no_json_are_named(tmp_path):
    fill(tmp_path, ["a.png"], {"metadata.jsonl": '{"file_name": "a.png", "text": "x"}\n{"file'})
    assert captions(tmp_path) == {"a.png": "x"}
    (line,) = left_out(tmp_path).items()
    assert line[0] == "metadata.jsonl: line 2" and line[1].startswith("not JSON such as")
    (tmp_path / "metadata.jsonl").write_bytes(b"\xff\xfe{\x00")
    with pytest.raises(zoodip.Error, match=r"^metadata.jsonl: is text in UTF-16"):
        zoodip.read_folder(tmp_path)


# --------------------------------------------------------------------------- folders with repeats


def test_folders_with_repeats(tmp_path):
    texts = {
        "10_sks dog/a.txt": "own {}",
        "metadata.jsonl": '{"file_name": "4_sks/d.png", "text": "r"}',
    }
    pictures = ["x.png", "10_sks dog/a.png", "10_sks dog/b.png", "4_sks/c.png", "4_sks/d.png"]
    folder = fill(tmp_path, pictures, texts)
    read = zoodip.read_folder(folder)
    assert [(p.name, p.caption, p.repeats) for p in read.pictures] == [
        ("x.png", "", 1),
        ("10_sks dog/a.png", "own {}", 10),
        ("10_sks dog/b.png", "sks dog", 10),
        ("4_sks/c.png", "sks", 4),
        ("4_sks/d.png", "r", 4),
    ]
    assert read.text == (
        "5 pictures, 4 captions (2 by the name of the folder); drawn in proportion: "
        "10_sks dog 10, 4_sks 4, beside them 1"
    )
    captions(folder)


def test_repeats_that_all_have_in_common_are_none(tmp_path):
    folder = fill(tmp_path, ["10_sks dog/a.png", "5_sks/b.png"], {})
    assert [picture.repeats for picture in zoodip.read_folder(folder).pictures] == [2, 1]
    images, texts, names = load_folder(nodes, folder, 64, DEFAULT)
    assert names == ["10_sks dog/a.png", "10_sks dog/a.png", "5_sks/b.png"]
    assert texts == ["sks dog", "sks dog", "sks"]
    assert (images[0] == images[1]).all() and (images[1] != images[2]).any()


def test_folders_that_are_not_read_are_named(tmp_path):
    pictures = ["a.png", "held_out/b.png", "held_out/c.png", "2024_05_01/d.png", "0_x/e.png"]
    folder = fill(tmp_path, [*pictures, "3_sks/f.png", "3_sks/deep/g.png"], {"empty/n.md": ""})
    (folder / "7_sks").mkdir()
    assert list(captions(folder)) == ["a.png", "3_sks/f.png"]
    assert left_out(folder) == {
        "0_x/ with 1 picture": "0 repeats",
        "2024_05_01/ with 1 picture": "of folders, those called as 10_sks dog are read",
        "held_out/ with 2 pictures": "of folders, those called as 10_sks dog are read",
        "3_sks/deep/ with 1 picture": "a folder deeper down",
        "7_sks/": "no pictures in it",
    }


def test_too_many_repeats_do_not_fill_the_memory_of_a_graph(tmp_path):
    folder = fill(tmp_path, ["1_sks/a.png", "999_sks/b.png", "999_sks/c.png"], {})
    with pytest.raises(nodes.PictureError, match="make 1999 pictures of 3; at most 1000"):
        load_folder(nodes, folder, 64, DEFAULT)


# -------------------------------------------------------------------------------- what is left out


def test_what_is_left_out_is_one_line(tmp_path):
    heic = [f"IMG_{i}.tiff" for i in range(5)]
    folder = fill(tmp_path, ["a.png", "b.jfif"], {name: b"x" for name in heic})
    fill(folder, [], {"notes.md": "", "a.txt": "{}", "b.txt": "", "film.MP4": "", ".hidden": ""})
    fill(folder, [], {"Thumbs.db": "", "metadata.csv": "", "._a.png": ""})
    read = zoodip.read_folder(folder)
    assert read.text == (
        "2 pictures, 1 caption; left out: IMG_0.tiff, IMG_1.tiff, IMG_2.tiff and 2 others (a TIFF "
        "picture, which is not read: save it as JPEG or PNG), b.txt (empty), film.MP4 (a film), "
        "metadata.csv (of such tables metadata.jsonl is read), notes.md"
    )
    assert read.lacks_something


def test_what_nobody_expects_is_no_warning(tmp_path):
    folder = fill(tmp_path, ["a.png", "held_out/b.png"], {"notes.md": "", "a.npz": ""})
    assert not zoodip.read_folder(folder).lacks_something


def test_a_link_to_nothing_is_named(tmp_path):
    folder = fill(tmp_path, ["a.png"], {})
    (folder / "b.png").symlink_to(folder / "gone.png")
    assert left_out(folder) == {"b.png": "not a file, or a link to nothing"}


def test_names_that_are_no_utf8(tmp_path):
    folder = fill(tmp_path, ["a.png"], {})
    Path(bytes(folder) and (bytes(folder) + b"/\xff.txt").decode(errors="surrogateescape")).touch()
    assert left_out(folder) == {"\ufffd.txt": "no picture is called so"}


def test_a_folder_without_pictures_says_what_it_has(tmp_path):
    fill(tmp_path, ["dog/a.png"], {"a.tiff": "", "a.txt": "x"})
    with pytest.raises(zoodip.Error) as refused:
        zoodip.read_folder(tmp_path)
    said = str(refused.value)
    assert said.startswith(f"images: {tmp_path} holds no pictures (.jpg, ")
    assert "left out: a.tiff (a TIFF picture" in said and "dog/ with 1 picture" in said
    with pytest.raises(
        nodes.PictureError, match=f"^the folder '{tmp_path.name}' holds no pictures"
    ):
        load_folder(nodes, tmp_path, 64, DEFAULT)
    for missing, says in (
        (tmp_path / "gone", "there is no folder"),
        (tmp_path / "a.txt", "is not a"),
    ):
        with pytest.raises(zoodip.Error, match=f"^images: .*{says}"):
            zoodip.read_folder(missing)


def test_a_caption_that_is_too_long_is_refused_by_its_name(tmp_path):
    fill(tmp_path, ["3_sks/a.png"], {"3_sks/a.txt": "x" * 70_000})
    with pytest.raises(
        zoodip.Error, match="^3_sks/a.txt: has 70000 bytes, at most 65536 are read$"
    ):
        zoodip.read_folder(tmp_path)


def test_endings_of_pictures_are_the_nodes_own():
    assert tuple(_native.picture_endings()) == nodes.ENDINGS


# ------------------------------------------------------------------------------------- training


def train(run, model, images, out, *more):
    words = ["train", "--model", model, "--images", images, "--word", "sks", "--init", "dog"]
    words += ["--out", out, "--steps", "1", "--resolution", "64", "--validate-every", "0", *more]
    return run([str(word) for word in words])


def test_training_says_what_it_read(run, model, tmp_path):
    folder = fill(
        tmp_path / "pictures", ["a.png", "b.png"], {"a.txt": "(sks:1.3) BREAK", "c.txt": "x"}
    )
    out = tmp_path / "sks.safetensors"
    trained = train(run, model, folder, out, "--log", tmp_path / "run.jsonl")
    assert trained.returncode == 0, trained.stderr
    line = "2 pictures, 1 caption; left out: c.txt (no picture is called so)"
    assert f"zoodip: warning: {line}\n" in trained.stderr
    assert "zoodip: warning: captions: (sks:1.3), BREAK are read as they stand" in trained.stderr
    assert f"pictures     {line}\n" in run(["token", "info", str(out)]).stdout
    assert zoodip.token_info(out)["zoodip"]["folder"] == line
    start = json.loads((tmp_path / "run.jsonl").read_text().splitlines()[0])
    assert start["run"]["folder"] == line


def test_a_folder_s_name_without_the_word_is_refused(run, model, tmp_path):
    folder = fill(tmp_path / "pictures", ["3_dog/a.png"], {})
    refused = train(run, model, folder, tmp_path / "sks.safetensors")
    assert refused.returncode == 1
    assert (
        "3_dog: the folder's name is the caption of its pictures without one: 'dog' does not "
        in (refused.stderr)
    )


def test_repeats_are_drawn_as_often(run, model, tmp_path):
    folder = fill(tmp_path / "pictures", ["3_sks/a.png", "1_sks/b.png"], {})
    trained = train(run, model, folder, tmp_path / "sks.safetensors")
    assert trained.returncode == 0, trained.stderr
    made = zoodip.token_info(tmp_path / "sks.safetensors")["zoodip"]
    assert [p["name"] for p in made["pictures"]] == ["1_sks/b.png", "3_sks/a.png"]
    assert "drawn in proportion: 1_sks 1, 3_sks 3" in made["folder"]


def test_what_is_left_out_does_not_make_another_run(model, tmp_path):
    folder = fill(tmp_path / "pictures", ["a.png"], {})
    out, settings = tmp_path / "sks.safetensors", {"resolution": 64, "validate_every": 0}
    token = zoodip.CancelToken()
    zoodip.train(
        model,
        folder,
        "sks",
        "dog",
        out,
        steps=4,
        cancel=token,
        **settings,
        on_step=lambda *_: token.cancel(),
    )
    (folder / "notes.md").touch()
    assert zoodip.train(model, folder, "sks", "dog", out, steps=4, resume=True, **settings).finished
    assert "notes.md" in zoodip.token_info(out)["zoodip"]["folder"]
