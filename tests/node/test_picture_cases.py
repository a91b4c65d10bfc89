"""Pictures as cameras and editors write them: the engine and the node read the same, as Pillow."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zoodip
from comfyui_zoodip.node import pictures as nodes
from comfyui_zoodip.node.pictures import PictureError
from load_folder import load_folder
from picture_files import (
    ADOBE_RGB,
    DISPLAY_P3,
    HEIC,
    SRGB,
    XMP,
    app1,
    exif,
    grey_profile,
    icc_segments,
    odd_scan_header,
    raw_exif_text,
    saved,
    segment,
    smooth,
    with_chunk,
    with_segments,
    xmp_segment,
)
from PIL import Image, ImageCms, ImageOps
from zoodip import _loader

native = zoodip._native

EXACT = 0
# ITU-T T.83 lets an inverse transform differ by 1 in a sample; from (Y, Cb, Cr) to RGB that is at
# most 1 + 1.772 in blue, and rounding.
JPEG = 3
# Two versions of lcms round the tables of a transform differently, and 8 bits once more.
CONVERTED = 2


def image(mode: str = "RGB") -> Image.Image:
    return Image.fromarray(smooth()).convert(mode)


def see_through() -> Image.Image:
    picture = image("RGBA")
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    return picture


def frames() -> dict[str, object]:
    others = [Image.fromarray(smooth()[::-1].copy()), Image.fromarray(255 - smooth())]
    return {"save_all": True, "append_images": others, "duration": 100}


def jpeg(picture: Image.Image | None = None, **options: object) -> bytes:
    return saved(picture or image(), "JPEG", **{"quality": 95, "subsampling": 0} | options)


def png(picture: Image.Image | None = None, **options: object) -> bytes:
    return saved(picture or image(), "PNG", **options)


def webp(picture: Image.Image | None = None, **options: object) -> bytes:
    return saved(picture or image(), "WEBP", **{"lossless": True, "exact": True} | options)


def wide(profile: bytes, mode: str = "RGB") -> Image.Image:
    """The picture in the numbers of a profile."""
    own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    return ImageCms.profileToProfile(image(mode), ImageCms.createProfile("sRGB"), own)


def bitmap(
    bits: int, masks: tuple[int, ...] = (), header: int = 40, top_down: bool = False
) -> bytes:
    """A BMP of noise: what Pillow does not write."""
    width, height = 12, 9
    row = (width * bits + 31) // 32 * 4
    pixels = np.random.default_rng(bits).integers(0, 256, row * height, dtype=np.uint8).tobytes()
    compression = 3 if masks else 0
    palette = b"" if bits > 8 else bytes(4 * (1 << bits) - 4) + b"\x10\x20\x30\0"
    info = struct.pack(
        "<IiiHHIIiiII", header, width, -height if top_down else height, 1, bits, compression,
        len(pixels), 2835, 2835, 0, 0,
    )  # fmt: skip
    info += b"".join(struct.pack("<I", mask) for mask in masks)
    info += bytes(max(0, header - len(info)))
    start = 14 + len(info) + len(palette)
    head = b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start)
    return head + info + palette + pixels


def grey_alpha() -> Image.Image:
    picture = image("LA")
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    return picture


Case = tuple[Callable[[], bytes], int]

CASES: dict[str, Case] = {
    # Which way up.
    **{f"jpeg {o}": (lambda o=o: with_segments(jpeg(), app1(exif(o))), JPEG) for o in range(10)},
    **{f"webp {o}": (lambda o=o: webp(exif=exif(o)), EXACT) for o in range(1, 9)},
    **{f"png {o}": (lambda o=o: png(exif=exif(o)), EXACT) for o in range(1, 9)},
    **{
        f"{name} {kind} {order}": (
            lambda write=write, kind=kind, order=order: write(exif(6, order, kind)),
            JPEG,
        )
        for name, write in {
            "jpeg": lambda body: with_segments(jpeg(), app1(body)),
            "webp": lambda body: webp(exif=body),
            "png": lambda body: png(exif=body),
        }.items()
        for kind in (1, 3, 4)
        for order in "<>"
    },
    "webp, Exif twice marked": (lambda: webp(exif=b"Exif\0\0" + exif(6)), EXACT),
    "png, Exif in the chunk": (
        lambda: with_chunk(png(), b"eXIf", b"Exif\0\0" + exif(6)),
        EXACT,
    ),
    "png, behind the pixels": (lambda: with_chunk(png(), b"eXIf", exif(6), b"IEND"), EXACT),
    "png, exif as text": (lambda: with_chunk(png(), b"zTXt", raw_exif_text(exif(6))), EXACT),
    "jpeg, behind other segments": (
        lambda: with_segments(
            jpeg(),
            segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0"),
            segment(0xED, b"Photoshop 3.0\0"),
            segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x/>"),
            app1(exif(8)),
        ),
        JPEG,
    ),
    "jpeg, the first of two": (
        lambda: with_segments(jpeg(), app1(exif(6)), app1(exif(3))),
        JPEG,
    ),
    "jpeg, exif over two segments": (
        lambda: with_segments(jpeg(), app1(exif(6)[:20]), app1(exif(6)[20:])),
        JPEG,
    ),
    "jpeg, xmp": (lambda: with_segments(jpeg(), xmp_segment(6)), JPEG),
    "jpeg, exif before xmp": (
        lambda: with_segments(jpeg(), xmp_segment(3), app1(exif(6))),
        JPEG,
    ),
    "png, xmp": (
        lambda: with_chunk(png(), b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP.format(8).encode()),
        EXACT,
    ),
    "webp, xmp": (lambda: webp(xmp=XMP.format(5).encode()), EXACT),
    # What decoders warn of, and all is there.
    "odd scan header": (lambda: odd_scan_header(jpeg()), JPEG),
    "odd scan header, grey": (lambda: odd_scan_header(jpeg(image("L"))), JPEG),
    "stray bytes": (lambda: jpeg()[:-2] + bytes(5) + jpeg()[-2:], JPEG),
    "strange JFIF": (lambda: jpeg().replace(b"JFIF\0\1\1", b"JFIF\0\7\7"), JPEG),
    "strange Adobe": (
        lambda: with_segments(jpeg(), segment(0xEE, b"Adobe\0d\0\0\0\0\x09")),
        JPEG,
    ),
    "bytes behind the end": (lambda: jpeg() + bytes(100) + jpeg(), JPEG),
    # Several pictures in a file.
    "mpo": (lambda: saved(image(), "MPO", quality=95, **frames()), JPEG),
    "animated gif": (lambda: saved(image(), "GIF", **frames()), EXACT),
    "animated webp": (lambda: webp(**frames()), EXACT),
    "animated png": (lambda: png(**frames()), EXACT),
    # Inks.
    "cmyk": (lambda: jpeg(image("CMYK")), JPEG),
    "ycck": (lambda: ycck(), JPEG),
    # Colours.
    **{
        f"{name} in {kind}": (
            lambda write=write, profile=profile: write(wide(profile), icc_profile=profile),
            CONVERTED + (JPEG if kind == "jpeg" else 0),
        )
        for name, profile in {"adobe": ADOBE_RGB, "p3": DISPLAY_P3}.items()
        for kind, write in {"jpeg": jpeg, "png": png, "webp": webp}.items()
    },
    "profile and opacity": (lambda: png(see_through(), icc_profile=ADOBE_RGB), CONVERTED),
    "profile and palette": (lambda: png(image("P"), icc_profile=ADOBE_RGB), CONVERTED),
    "profile of grey": (lambda: png(image("L"), icc_profile=grey_profile(1.4)), CONVERTED),
    "profile of grey in jpeg": (
        lambda: jpeg(image("L"), icc_profile=grey_profile(1.4)),
        CONVERTED + JPEG,
    ),
    "profile in parts": (
        lambda: with_segments(jpeg(wide(ADOBE_RGB)), *icc_segments(ADOBE_RGB, 100)),
        CONVERTED + JPEG,
    ),
    "profile and orientation": (lambda: webp(icc_profile=ADOBE_RGB, exif=exif(6)), CONVERTED),
    # Other formats.
    "gif": (lambda: saved(image(), "GIF"), EXACT),
    "interlaced gif": (lambda: saved(image("P"), "GIF", interlace=1), EXACT),
    "grey gif": (lambda: saved(image("L"), "GIF", interlace=0), EXACT),
    "clear gif": (lambda: saved(image("P"), "GIF", transparency=3), EXACT),
    **{f"bmp {mode}": (lambda mode=mode: saved(image(mode), "BMP"), EXACT) for mode in "1LP"},
    "bmp RGB": (lambda: saved(image(), "BMP"), EXACT),
    "bmp of 32 bits": (lambda: bitmap(32), EXACT),
    "bmp from the top": (lambda: bitmap(24, top_down=True), EXACT),
    "bmp of 4 bits": (lambda: bitmap(4), EXACT),
    # Shares of 31 and 63 as shares of 255, rounded or cut.
    "bmp of 16 bits": (lambda: bitmap(16, (0xF800, 0x7E0, 0x1F)), 1),
    "bmp with opacity": (
        lambda: bitmap(32, (0xFF0000, 0xFF00, 0xFF, 0xFF000000), header=108),
        EXACT,
    ),
    # Modes.
    "16 bits": (lambda: png(Image.fromarray(smooth()[..., 0].astype(np.uint16) * 257)), EXACT),
    **{f"png {mode}": (lambda mode=mode: png(image(mode)), EXACT) for mode in ("1", "L", "P")},
    "opacity": (lambda: png(see_through()), 1),
    "grey opacity": (lambda: png(grey_alpha()), 1),
    "clear palette": (lambda: png(image("P"), transparency=5), EXACT),
}


def ycck() -> bytes:
    """Pillow writes CMYK as it is; the mark of Adobe's transform says that it is YCCK."""
    data = jpeg(image("CMYK"))
    mark = data.find(b"Adobe\0")
    assert mark > 0
    return data[: mark + 11] + b"\2" + data[mark + 12 :]


def oracle(data: bytes) -> np.ndarray:
    """As Pillow shows it: turned, in sRGB, over white, 8 bits."""
    opened = Image.open(io.BytesIO(data))
    profile = opened.info.get("icc_profile")
    picture = ImageOps.exif_transpose(opened)
    if picture.mode.startswith("I"):
        wide_values = np.asarray(picture, dtype=np.int64)
        picture = Image.fromarray((wide_values // 257).astype(np.uint8))
    if "A" in picture.getbands() or "transparency" in picture.info:
        picture = picture.convert("RGBA")
    elif picture.mode in ("P", "1"):
        picture = picture.convert("RGB")
    if profile:
        own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = "RGBA" if picture.mode == "RGBA" else "RGB"
        srgb = ImageCms.createProfile("sRGB")
        picture = ImageCms.profileToProfile(picture, own, srgb, outputMode=mode)
    if picture.mode == "RGBA":
        white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
        picture = Image.alpha_composite(white, picture)
    return np.asarray(picture.convert("RGB"))


def engine(path: Path) -> np.ndarray:
    width, height, pixels = native.load_picture(path)
    return np.frombuffer(pixels, np.uint8).reshape(height, width, 3)


def difference(got: np.ndarray, want: np.ndarray) -> int:
    assert got.shape == want.shape
    return int(np.abs(got.astype(int) - want.astype(int)).max())


def square(picture: np.ndarray, size: int) -> np.ndarray:
    """Pillow's own square of a picture, across and then down."""
    whole = Image.fromarray(picture)
    side = min(whole.size)
    left, top = (whole.width - side) / 2, (whole.height - side) / 2
    bicubic = Image.Resampling.BICUBIC
    narrow = whole.resize((size, whole.height), bicubic, box=(left, 0, left + side, whole.height))
    return np.asarray(narrow.resize((size, size), bicubic, box=(0, top, size, top + side)))


@pytest.mark.parametrize("case", CASES)
def test_both_faces_show_what_pillow_shows(tmp_path: Path, case: str) -> None:
    write, tolerance = CASES[case]
    data = write()
    (tmp_path / "a.png").write_bytes(data)  # whatever it is: the contents count
    got = engine(tmp_path / "a.png")
    assert difference(got, oracle(data)) <= tolerance
    images, _, names = load_folder(nodes, tmp_path, 24, "")
    assert names == ["a.png"]
    node = (images[0].numpy() * 255).round().astype(np.uint8)
    width, height, pixels = native.load_picture(tmp_path / "a.png", 24, 24)
    assert (width, height) == (24, 24) and node.tobytes() == pixels
    assert difference(node, square(got, 24)) <= 1


def warnings_of(path: Path) -> list[str]:
    told: list[str] = []
    native.set_log_sink(lambda level, message: told.append(message))
    try:
        engine(path)
    finally:
        native.set_log_sink(_loader._log)
    return told


@pytest.mark.parametrize("write", [jpeg, png, webp])
def test_a_profile_of_srgb_changes_nothing(tmp_path: Path, write) -> None:
    (tmp_path / "with").write_bytes(write(icc_profile=SRGB))
    (tmp_path / "without").write_bytes(write())
    assert np.array_equal(engine(tmp_path / "with"), engine(tmp_path / "without"))
    assert warnings_of(tmp_path / "with") == []


@pytest.mark.parametrize(
    ("picture", "profile"),
    [
        (image, b"no profile"),
        (image, ADOBE_RGB[:200]),
        (image, ADOBE_RGB[:128] + bytes(len(ADOBE_RGB) - 128)),
        (image, grey_profile(1.4)),
    ],
    ids=["text", "cut off", "empty", "of another kind"],
)
@pytest.mark.parametrize("write", [jpeg, png, webp])
def test_a_profile_that_does_not_serve_is_left_out(tmp_path, write, picture, profile) -> None:
    (tmp_path / "with").write_bytes(write(picture(), icc_profile=profile))
    (tmp_path / "without").write_bytes(write(picture()))
    assert np.array_equal(engine(tmp_path / "with"), engine(tmp_path / "without"))
    (told,) = warnings_of(tmp_path / "with")
    assert str(tmp_path / "with") in told and "colour profile" in told


def test_a_part_of_a_profile_that_is_missing(tmp_path: Path) -> None:
    parts = icc_segments(ADOBE_RGB, 100)
    (tmp_path / "with").write_bytes(with_segments(jpeg(), *parts[1:]))
    (tmp_path / "without").write_bytes(jpeg())
    assert np.array_equal(engine(tmp_path / "with"), engine(tmp_path / "without"))
    assert "colour profile" in "".join(warnings_of(tmp_path / "with"))


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_an_animation_is_named(tmp_path: Path, kind: str) -> None:
    (tmp_path / "a").write_bytes(saved(image(), kind, **frames()))
    (told,) = warnings_of(tmp_path / "a")
    assert "is an animation; its first picture is taken" in told
    (tmp_path / "a").write_bytes(saved(image(), kind))
    assert warnings_of(tmp_path / "a") == []


def test_damaged_metadata_is_ignored(tmp_path: Path) -> None:
    plain = engine_of(tmp_path, png())
    whole = exif(6)
    for length in range(len(whole) - 10):
        for data in (png(exif=whole[:length]), webp(exif=whole[:length] or b"x")):
            assert np.array_equal(engine_of(tmp_path, data), plain), length
    random = np.random.default_rng(0)
    for _ in range(100):
        damaged = bytearray(whole)
        damaged[random.integers(len(whole))] = random.integers(256)
        assert engine_of(tmp_path, png(exif=bytes(damaged))).shape[2] == 3


def engine_of(folder: Path, data: bytes) -> np.ndarray:
    (folder / "x").write_bytes(data)
    return engine(folder / "x")


# Half the resolution of the colours, and 8 bits of YCbCr: the gradient's slope is 5 levels a pixel
# and the quantiser's error stays below as much.
LOSSY = 12


@pytest.mark.parametrize("name", ["a.heic", "a.HIF", "a.jpg"])
def test_heic(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(HEIC)
    assert difference(engine(tmp_path / name), smooth()) <= LOSSY
    images, _, names = load_folder(nodes, tmp_path, 32, "")
    assert names == [name]
    assert difference((images[0].numpy() * 255).round().astype(np.uint8), square(smooth(), 32)) <= (
        LOSSY + 1
    )


def avif(picture: Image.Image | None = None, **options: object) -> bytes:
    return saved(picture or image(), "AVIF", **{"quality": 100, "subsampling": "4:4:4"} | options)


needs_avif = pytest.mark.skipif(
    "AVIF" not in (Image.init() and Image.SAVE), reason="this Pillow writes no AVIF"
)


@needs_avif
@pytest.mark.parametrize(
    "options",
    [{}, *({"exif": exif(o)} for o in range(2, 9)), {"icc_profile": ADOBE_RGB}],
    ids=["plain", *map(str, range(2, 9)), "profile"],
)
def test_avif(tmp_path: Path, options: dict[str, object]) -> None:
    """libheif and libavif turn the same YCbCr into RGB: as in a JPEG."""
    data = avif(**options)
    (tmp_path / "a.avif").write_bytes(data)
    assert difference(engine(tmp_path / "a.avif"), oracle(data)) <= JPEG + CONVERTED


@needs_avif
def test_avif_with_opacity(tmp_path: Path) -> None:
    data = avif(see_through())
    (tmp_path / "a.avif").write_bytes(data)
    assert difference(engine(tmp_path / "a.avif"), oracle(data)) <= JPEG + 1


@needs_avif
def test_colours_that_are_named_by_number(tmp_path: Path) -> None:
    """Display P3 as colour primaries 12 (ITU-T H.273) instead of a profile."""
    data = avif()
    at = data.index(b"nclx") + 4
    (tmp_path / "a.avif").write_bytes(data[:at] + struct.pack(">H", 12) + data[at + 2 :])
    plain, got = engine_of(tmp_path, data), engine(tmp_path / "a.avif")
    own = ImageCms.ImageCmsProfile(io.BytesIO(DISPLAY_P3))
    want = ImageCms.profileToProfile(Image.fromarray(plain), own, ImageCms.createProfile("sRGB"))
    assert difference(got, np.asarray(want)) <= CONVERTED
    assert difference(got, plain) > 10


@pytest.mark.parametrize("length", [20, 200, 500, 800, len(HEIC) - 1])
def test_a_heic_that_was_cut_off(tmp_path: Path, length: int) -> None:
    (tmp_path / "a.heic").write_bytes(HEIC[:length])
    with pytest.raises(zoodip.Error, match="a HEIC picture that is damaged or cut off"):
        engine(tmp_path / "a.heic")


@pytest.mark.parametrize(
    "write",
    [
        jpeg,
        lambda: jpeg(progressive=True),
        png,
        webp,
        lambda: webp(exif=exif(6)),
        lambda: saved(image(), "GIF"),
        lambda: saved(image(), "BMP"),
    ],
    ids=["jpeg", "progressive", "png", "webp", "webp with exif", "gif", "bmp"],
)
def test_a_file_that_was_cut_off_is_refused_alike(tmp_path: Path, write) -> None:
    data = write()
    for length in (len(data) // 2, len(data) - 30):
        (tmp_path / "dog.png").write_bytes(data[:length])
        with pytest.raises(zoodip.Error, match="dog.png: is .*(damaged|cut off)") as refused:
            engine(tmp_path / "dog.png")
        with pytest.raises(PictureError) as told:
            load_folder(nodes, tmp_path, 24, "")
        assert str(told.value) == str(refused.value).replace(f"{tmp_path}/", "")


def test_a_run_length_bmp_is_named(tmp_path: Path) -> None:
    data = bytearray(saved(image("P"), "BMP"))
    data[30] = 1
    (tmp_path / "a.bmp").write_bytes(data)
    with pytest.raises(zoodip.Error, match="run-length compressed BMP.*Save it as PNG"):
        engine(tmp_path / "a.bmp")


def test_without_the_engine_the_node_says_what_to_run(tmp_path: Path, monkeypatch) -> None:
    def missing() -> None:
        raise zoodip.NativeModuleError("the engine is not built; run this")

    monkeypatch.setattr(zoodip._folder, "load_native", missing)
    (tmp_path / "a.png").write_bytes(png())
    with pytest.raises(PictureError, match="the engine is not built; run this"):
        load_folder(nodes, tmp_path, 24, "")
