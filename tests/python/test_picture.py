"""Pictures against Pillow: decoding, EXIF orientation, cropping and scaling."""

from __future__ import annotations

import io
import random
from pathlib import Path

import pytest
from zoodip import _native

np = pytest.importorskip("numpy")
Image = pytest.importorskip("PIL.Image")
ImageOps = pytest.importorskip("PIL.ImageOps")

SIZES = [(1, 1), (1, 9), (31, 17), (64, 64), (101, 53)]
MODES = ["RGB", "L", "P", "1", "RGBA", "LA"]


def noise(width: int, height: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    shape = (height, width, channels)
    return np.random.default_rng([seed, *shape]).integers(0, 256, shape, dtype=np.uint8)


def smooth(width: int, height: int) -> np.ndarray:
    """What JPEG is made for: no edges."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / 9 + c) * np.cos(y / 7 - c) for c in range(3)]
    return np.rint(127.5 + 100 * np.stack(waves, axis=-1)).astype(np.uint8)


def load(path: Path, width: int = 0, height: int = 0) -> np.ndarray:
    got_width, got_height, pixels = _native.load_picture(path, width, height)
    return np.frombuffer(pixels, np.uint8).reshape(got_height, got_width, 3)


def difference(got: np.ndarray, want: np.ndarray) -> int:
    assert got.shape == want.shape
    return int(np.abs(got.astype(int) - want.astype(int)).max())


def over_white(image: Image.Image) -> np.ndarray:
    """Exact coverage over white, rounded once."""
    rgba = np.asarray(image.convert("RGBA")).astype(int)
    alpha = rgba[..., 3:]
    return ((rgba[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", MODES)
def test_png_is_exact(tmp_path: Path, size: tuple[int, int], mode: str) -> None:
    image = Image.fromarray(noise(*size, 4)).convert(mode)
    image.save(tmp_path / "a.png")
    assert difference(load(tmp_path / "a.png"), over_white(image)) == 0


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_lossless_webp_is_exact(tmp_path: Path, size: tuple[int, int], mode: str) -> None:
    image = Image.fromarray(noise(*size, 4)).convert(mode)
    image.save(tmp_path / "a.webp", lossless=True, exact=True)
    assert difference(load(tmp_path / "a.webp"), over_white(image)) == 0


@pytest.mark.parametrize("size", SIZES)
def test_lossy_webp_is_as_in_pillow(tmp_path: Path, size: tuple[int, int]) -> None:
    # The format defines the decoded YUV bit by bit; its upsampling and conversion, which libwebp
    # may do in other instructions, round each channel once.
    Image.fromarray(smooth(*size)).save(tmp_path / "a.webp", quality=80)
    want = np.asarray(Image.open(tmp_path / "a.webp").convert("RGB"))
    assert difference(load(tmp_path / "a.webp"), want) <= 1


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_is_as_in_pillow(
    tmp_path: Path, size: tuple[int, int], subsampling: int, progressive: bool
) -> None:
    # ITU-T T.83 lets an inverse transform differ by 1 in a sample; from (Y, Cb, Cr) to RGB that is
    # at most 1 + 1.772 in blue, and rounding: 3.
    options = {"quality": 90, "subsampling": subsampling, "progressive": progressive}
    Image.fromarray(smooth(*size)).save(tmp_path / "a.jpg", **options)
    want = np.asarray(Image.open(tmp_path / "a.jpg"))
    assert difference(load(tmp_path / "a.jpg"), want) <= 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(smooth(40, 24)).save(tmp_path / "a.jpg", exif=exif, quality=90)
    stored = Image.open(tmp_path / "a.jpg")
    want = np.asarray(ImageOps.exif_transpose(stored))
    assert want.shape == ((24, 40, 3) if orientation < 5 else (40, 24, 3))
    assert difference(load(tmp_path / "a.jpg"), want) <= 3


def test_exif_orientation_is_found_behind_xmp(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.fromarray(smooth(40, 24)).save(buffer, "JPEG", exif=exif)
    body = b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta/>"
    segment = b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body
    data = buffer.getvalue()
    (tmp_path / "a.jpg").write_bytes(data[:2] + segment + data[2:])
    assert load(tmp_path / "a.jpg").shape == (40, 24, 3)


def test_stray_bytes_between_segments_are_no_damage(tmp_path: Path) -> None:
    """Cameras leave them; libjpeg only warns, and every viewer shows the picture."""
    buffer = io.BytesIO()
    Image.fromarray(smooth(40, 24)).save(buffer, "JPEG")
    data = buffer.getvalue()
    (tmp_path / "a.jpg").write_bytes(data[:-2] + b"\0\0\0\0" + data[-2:])
    assert load(tmp_path / "a.jpg").shape == (24, 40, 3)


def pillow_crop_resize(image: Image.Image, width: int, height: int) -> np.ndarray:
    """Across, then down, a call each: Pillow 12 does so in one call too, but Pillow 13 begins with
    the axis it finds cheaper, and passes that clip to 0 ... 255 do not commute."""
    scale = min(image.width / width, image.height / height)
    left = max((image.width - scale * width) / 2, 0)
    top = max((image.height - scale * height) / 2, 0)
    across = (left, 0, min(left + scale * width, image.width), image.height)
    down = (0, top, width, min(top + scale * height, image.height))
    bicubic = Image.Resampling.BICUBIC
    narrow = image.resize((width, image.height), bicubic, box=across)
    return np.asarray(narrow.resize((width, height), bicubic, box=down))


def resize_cases() -> list[tuple[int, int, int, int]]:
    numbers = random.Random(4)
    cases = [(1, 1, 16, 16), (1, 1, 1, 1), (1, 200, 8, 8), (300, 2, 64, 48), (512, 512, 64, 64)]
    return cases + [
        tuple(numbers.randrange(1, limit) for limit in (400, 400, 160, 160)) for _ in range(40)
    ]


@pytest.mark.parametrize("case", resize_cases(), ids=lambda case: "{}x{}-{}x{}".format(*case))
def test_crop_resize_is_as_in_pillow(tmp_path: Path, case: tuple[int, int, int, int]) -> None:
    # Both round weights to 2^-22, add exactly and round each pass to 8 bits. A compiler may fuse
    # the products in a weight; where that moves its last bit, a sum next to a half may round the
    # other way: 1 level.
    image = Image.fromarray(noise(*case[:2], seed=5))
    image.save(tmp_path / "a.png")
    want = pillow_crop_resize(image, *case[2:])
    assert difference(load(tmp_path / "a.png", *case[2:]), want) <= 1


def test_what_is_no_picture_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(_native.Error, match=r"a\.png"):
        _native.load_picture(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes(b"II*\0" + bytes(40))
    with pytest.raises(_native.Error, match="TIFF.* JPEG, PNG, WebP, HEIC, AVIF, GIF and BMP"):
        _native.load_picture(tmp_path / "a.png")


@pytest.mark.parametrize("size", [(8, 0), (0, 8), (-8, 8), (8, -8)])
def test_a_size_that_is_none_is_an_error(tmp_path: Path, size: tuple[int, int]) -> None:
    Image.fromarray(noise(9, 9)).save(tmp_path / "a.png")
    with pytest.raises(_native.Error, match="above zero"):
        _native.load_picture(tmp_path / "a.png", *size)
