"""Pictures of IMAGE inputs and of folders."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from comfyui_zoodip.node import pictures as nodes
from comfyui_zoodip.node.pictures import (
    PictureError,
    folder_fingerprint,
    list_folders,
    pictures_from,
    resolve_folder,
)
from load_folder import load_folder
from PIL import Image

ROOT_FOLDERS = ["zoodip demo/a", "zoodip photos/b"]


def random_pixels(height=16, width=12, channels=3, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def as_image(pixels: np.ndarray) -> torch.Tensor:
    """As the host's loader."""
    return torch.from_numpy(pixels.astype(np.float32) / 255.0)[None]


def test_loaded_pictures_come_back_without_loss():
    levels = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    (picture,) = pictures_from(as_image(levels))
    assert picture.pixels.dtype == torch.uint8 and picture.pixels.is_contiguous()
    assert np.array_equal(picture.pixels.numpy(), levels)


def test_batches_of_any_sizes_in_order():
    first, second = random_pixels(seed=1), random_pixels(20, 30, seed=2)
    batch = torch.cat([as_image(first), as_image(first).flip(1)])
    pictures = pictures_from([batch, as_image(second)])
    assert [tuple(each.pixels.shape) for each in pictures] == [
        (16, 12, 3),
        (16, 12, 3),
        (20, 30, 3),
    ]
    assert np.array_equal(pictures[1].pixels.numpy(), first[::-1])
    assert len({each.sha256 for each in pictures}) == 3
    assert pictures[0].sha256 == pictures_from(as_image(first))[0].sha256


def test_the_digest_knows_the_shape():
    pixels = torch.zeros(1, 8, 16, 3)
    sizes = {pictures_from(each)[0].sha256 for each in (pixels, pixels.reshape(1, 16, 8, 3))}
    assert len(sizes) == 2


def test_values_are_clamped_and_rounded():
    image = torch.tensor([-1.0, 0.4999 / 255, 0.5001 / 255, 2.0]).reshape(1, 1, 4, 1)
    (picture,) = pictures_from(image.expand(1, 8, 4, 3).repeat(1, 1, 2, 1))
    assert picture.pixels[0, :4, 0].tolist() == [0, 0, 1, 255]


def test_opacity_is_laid_over_white():
    image = torch.zeros(1, 8, 8, 4)
    image[..., 0] = 1.0
    image[0, 0, 0, 3] = 1.0
    image[0, 0, 1, 3] = 0.2
    (picture,) = pictures_from(image)
    assert picture.pixels[0, :3].tolist() == [[255, 0, 0], [255, 204, 204], [255, 255, 255]]


def test_nothing_stays_in_inference_mode():
    with torch.inference_mode():
        (picture,) = pictures_from(torch.zeros(1, 8, 8, 3))
    assert not picture.pixels.is_inference()


@pytest.mark.parametrize(
    ("images", "says"),
    [
        ([], "there are no pictures"),
        (torch.zeros(0, 8, 8, 3), "there are no pictures"),
        ([torch.zeros(1, 8, 8, 3), torch.zeros(1, 1, 1, 3)], "^picture 2 is 1 x 1; it needs 8"),
        ([torch.zeros(2, 8, 7, 3)], "^picture 1 is 7 x 8"),
        ([torch.zeros(1, 8, 8, 1)], r"^picture 1 has shape \(8, 8, 1\)"),
        ([torch.zeros(1, 8, 8, 5)], r"^picture 1 has shape \(8, 8, 5\)"),
        ([torch.zeros(8, 8)], r"^picture 1 has shape \(8,\)"),
        ([torch.zeros(1, 8, 8, 3), torch.full((1, 8, 8, 3), torch.nan)], "^picture 2 holds NaN"),
        ([torch.full((1, 8, 8, 3), torch.inf)], "^picture 1 holds NaN or infinity"),
    ],
)
def test_pictures_that_cannot_be_used(images, says):
    with pytest.raises(PictureError, match=says):
        pictures_from(images)


@pytest.fixture
def places(tmp_path):
    """An input folder, and a package with pictures of its own."""
    inputs, package = tmp_path / "input", tmp_path / "package"
    for folder in (
        inputs / "cats",
        inputs / "pets" / "dogs",
        inputs / ".hidden",
        package / "demo" / "subjects" / "a",
        package / "demo" / "subjects" / "a" / "held_out",
        package / "demo" / "photos" / "b",
    ):
        folder.mkdir(parents=True)
        Image.fromarray(random_pixels()).save(folder / "0.png")
    (inputs / "empty").mkdir()
    Image.fromarray(random_pixels()).save(inputs / "loose.png")
    return inputs, package


def test_folders_are_listed(places):
    assert list_folders(*places) == ["cats", "pets/dogs", *ROOT_FOLDERS]
    assert list_folders(places[0] / "gone", places[1]) == ROOT_FOLDERS


def test_names_lead_to_folders(places):
    inputs, package = places
    for name in list_folders(*places):
        assert (resolve_folder(name, inputs, package) / "0.png").is_file()
    assert resolve_folder("zoodip demo/a", *places) == package / "demo" / "subjects" / "a"
    (inputs / "zoodip demo").mkdir()
    Image.fromarray(random_pixels()).save(inputs / "zoodip demo" / "0.png")
    assert list_folders(*places) == ["cats", "pets/dogs", *ROOT_FOLDERS]


@pytest.mark.parametrize(
    "name",
    ["..", "../package", "cats/../..", "cats/..", "", ".", "/", "zoodip demo", "zoodip demo/.."]
    + ["zoodip demo/../subjects/a", "pets\\..\\..", "cats/", "./cats", "out/../cats", "cats\0"],
)
def test_names_that_lead_out(places, name):
    inputs, package = places
    (inputs / "out").symlink_to(package / "demo" / "photos" / "b", target_is_directory=True)
    with pytest.raises(PictureError, match="is not inside the input folder"):
        resolve_folder(name, *places)


def test_links_are_followed_as_the_host_follows_them(places, tmp_path):
    """To folders elsewhere, to a disk of pictures, and back to where they lie."""
    inputs, package = places
    disk = tmp_path / "disk"
    for folder in (disk / "birds", inputs / "back"):
        folder.mkdir(parents=True)
    Image.fromarray(random_pixels()).save(disk / "birds" / "0.png")
    (inputs / "disk").symlink_to(disk, target_is_directory=True)
    (inputs / "out").symlink_to(package / "demo" / "photos" / "b", target_is_directory=True)
    (inputs / "back" / "top").symlink_to(inputs, target_is_directory=True)
    (inputs / "broken").symlink_to(tmp_path / "nothing")
    names = list_folders(*places)
    assert names == ["cats", "disk/birds", "out", "pets/dogs", *ROOT_FOLDERS]
    for name in names:
        assert load_folder(nodes, resolve_folder(name, *places), 64, "")[2] == ["0.png"]


def test_an_absolute_name_leads_out(places):
    with pytest.raises(PictureError, match="is not inside the input folder"):
        resolve_folder(str(places[1]), *places)


def test_a_folder_that_is_gone(places):
    with pytest.raises(PictureError, match="the folder 'birds' is gone"):
        resolve_folder("birds", *places)
    with pytest.raises(PictureError, match="the folder 'birds' is gone"):
        load_folder(nodes, places[0] / "birds", 64, "")
    with pytest.raises(PictureError, match="^the folder 'empty' holds no pictures \\(.jpg, "):
        load_folder(nodes, places[0] / "empty", 64, "")


def test_pictures_and_captions_may_be_links(places, tmp_path):
    folder = places[0] / "cats"
    Image.fromarray(random_pixels()).save(tmp_path / "1.png")
    (tmp_path / "1.txt").write_text("a {}")
    for name in ("1.png", "1.txt"):
        (folder / name).symlink_to(tmp_path / name)
    (folder / "broken.png").symlink_to(tmp_path / "nothing.png")
    _, captions, names = load_folder(nodes, folder, 64, "none")
    assert (captions, names) == (["none", "a {}"], ["0.png", "1.png"])


def test_a_folder_is_loaded(tmp_path):
    for name in ("b.PNG", "a.png", "c.webp", ".d.png", "notes.txt", "e.tiff"):
        if name.endswith("txt"):
            (tmp_path / name).write_text("x")
        else:
            Image.fromarray(random_pixels(seed=len(name))).save(
                tmp_path / name, lossless=True, format=name.split(".")[-1].upper()
            )
    (tmp_path / "b.txt").write_bytes("\ufeffa {}\r\non a  sofa\n".encode())
    (tmp_path / "c.txt").write_text(" \n")
    images, captions, names = load_folder(nodes, tmp_path, 12, "a photo of a {}")
    assert names == ["a.png", "b.PNG", "c.webp"]
    assert captions == ["a photo of a {}", "a {} on a sofa", "a photo of a {}"]
    assert images.shape == (3, 12, 12, 3) and images.dtype == torch.float32
    # 16 x 12, cut in the middle to 12 x 12, and not resampled.
    expected = random_pixels(seed=len("a.png"))[2:14]
    assert np.array_equal((images[0] * 255).round().numpy(), expected)
    assert np.array_equal(pictures_from(images)[0].pixels.numpy(), expected)


def test_resampling_is_antialiased_and_keeps_the_aspect(tmp_path):
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:, 20:60] = np.where(np.arange(40)[None, :, None] % 2, 255, 0)
    pixels[:, :20] = pixels[:, 60:] = 99
    Image.fromarray(pixels).save(tmp_path / "0.png")
    images, _, _ = load_folder(nodes, tmp_path, 10, "")
    middle = images[0, :, 2:-2] * 255
    assert ((middle - 127.5).abs() < 12).all()
    Image.fromarray(np.full((9, 33, 3), 77, np.uint8)).save(tmp_path / "0.png")
    images, _, _ = load_folder(nodes, tmp_path, 64, "")
    assert ((images * 255).round() == 77).all()


def test_orientation_is_applied(tmp_path):
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    Image.fromarray(pixels).save(tmp_path / "0.png", exif=exif)
    images, _, _ = load_folder(nodes, tmp_path, 16, "")
    assert (images[0, :, 8:] == 1).all() and (images[0, :, :8] == 0).all()


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "PA", "1", "I;16"])
def test_modes_become_rgb(tmp_path, mode):
    grey = np.full((8, 8), 100, np.uint8)
    if mode == "I;16":
        picture = Image.fromarray(grey.astype(np.uint16) * 257)
    elif mode == "1":
        picture = Image.fromarray(grey > 50)
    elif mode == "PA":
        picture = Image.fromarray(grey).convert("P")
        picture.info["transparency"] = 100
    else:
        picture = Image.fromarray(grey).convert(mode)
    if mode in ("LA", "RGBA"):
        picture.putalpha(0)
    picture.save(tmp_path / "0.png", **({"transparency": 100} if mode == "PA" else {}))
    images, _, _ = load_folder(nodes, tmp_path, 8, "")
    expected = {"LA": 255, "RGBA": 255, "PA": 255, "1": 255}.get(mode, 100)
    assert ((images * 255).round() == expected).all()


def test_pictures_that_cannot_be_read(tmp_path):
    path = tmp_path / "0.jpg"
    Image.fromarray(random_pixels(64, 64)).save(path)
    whole = path.read_bytes()
    for contents, says in (
        (b"", "is empty"),
        (b"text", "is not a picture that can be read"),
        (whole[: len(whole) // 2], "is a JPEG that is damaged or cut off"),
    ):
        path.write_bytes(contents)
        with pytest.raises(PictureError, match=f"^0.jpg: {says}"):
            load_folder(nodes, tmp_path, 64, "")
    Image.fromarray(random_pixels(4, 64)).save(path)
    with pytest.raises(PictureError, match="^0.jpg: is 64 x 4 pixels; it needs 8 a side"):
        load_folder(nodes, tmp_path, 64, "")
    Image.new("1", (33000, 8)).save(tmp_path / "0.png")
    path.unlink()
    with pytest.raises(PictureError, match="^0.png: has 33000 x 8 pixels"):
        load_folder(nodes, tmp_path, 64, "")


def test_a_caption_that_is_no_text(tmp_path):
    Image.fromarray(random_pixels()).save(tmp_path / "0.png")
    (tmp_path / "0.txt").write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(PictureError, match="^0.txt: is text in UTF-16"):
        load_folder(nodes, tmp_path, 64, "")


def test_the_fingerprint_follows_the_files(tmp_path):
    Image.fromarray(random_pixels()).save(tmp_path / "0.png")
    seen = [folder_fingerprint(tmp_path)]
    assert folder_fingerprint(tmp_path) == seen[0]
    (tmp_path / "0.txt").write_text("a")
    seen.append(folder_fingerprint(tmp_path))
    os.utime(tmp_path / "0.png", ns=(1, 1))
    seen.append(folder_fingerprint(tmp_path))
    (tmp_path / "0.png").rename(tmp_path / "1.png")
    seen.append(folder_fingerprint(tmp_path))
    (tmp_path / "unrelated.txt").write_text("a")
    assert folder_fingerprint(tmp_path) == seen[-1]
    assert len(set(seen)) == 4
