"""Files of pictures as cameras and editors write them, for tests of what reads them."""

from __future__ import annotations

import base64
import io
import struct
import zlib

import numpy as np
from PIL import Image, ImageCms

XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description tiff:Orientation="{}"/>'
    "</rdf:RDF></x:xmpmeta>"
)


def smooth(width: int = 48, height: int = 32) -> np.ndarray:
    """What JPEG is made for: no edges. Each corner has a colour of its own."""
    y, x = np.mgrid[0:height, 0:width]
    across, down = 255 * x / (width - 1), 255 * y / (height - 1)
    return np.stack([across, down, 255 - across], -1).round().astype(np.uint8)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def exif(value: int, order: str = "<", kind: int = 3, count: int = 1) -> bytes:
    """A TIFF body of two entries, the second of them the orientation."""
    forms = {1: "B3x", 3: "H2x", 4: "I"}
    body = b"II*\0" if order == "<" else b"MM\0*"
    body += struct.pack(order + "IH", 8, 2)
    body += struct.pack(order + "HHIH2x", 0x0100, 3, 1, 9)
    body += struct.pack(order + "HHI" + forms[kind], 0x0112, kind, count, value)
    return body + struct.pack(order + "I", 0)


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def with_segments(jpeg: bytes, *segments: bytes) -> bytes:
    """Put right behind the beginning."""
    return jpeg[:2] + b"".join(segments) + jpeg[2:]


def app1(body: bytes) -> bytes:
    return segment(0xE1, b"Exif\0\0" + body)


def xmp_segment(orientation: int) -> bytes:
    return segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP.format(orientation).encode())


def icc_segments(profile: bytes, size: int) -> list[bytes]:
    parts = [profile[at : at + size] for at in range(0, len(profile), size)]
    return [
        segment(0xE2, b"ICC_PROFILE\0" + bytes([i + 1, len(parts)]) + part)
        for i, part in enumerate(parts)
    ]


def odd_scan_header(jpeg: bytes) -> bytes:
    """As front cameras of some phones write it: the spectral selection of a baseline scan is 0."""
    scan = jpeg.index(b"\xff\xda")
    end = scan + 2 + struct.unpack(">H", jpeg[scan + 2 : scan + 4])[0]
    return jpeg[: end - 3] + b"\0\0\0" + jpeg[end:]


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def with_chunk(png: bytes, name: bytes, data: bytes, before: bytes = b"IDAT") -> bytes:
    at = png.index(before) - 4
    return png[:at] + chunk(name, data) + png[at:]


def raw_exif_text(body: bytes) -> bytes:
    """What a zTXt chunk of programs without eXIf holds."""
    body = b"Exif\0\0" + body
    digits = body.hex()
    lines = "\n".join(digits[at : at + 72] for at in range(0, len(digits), 72))
    text = f"\nexif\n{len(body):8}\n{lines}\n"
    return b"Raw profile type exif\0\0" + zlib.compress(text.encode())


def _fixed(value: float) -> bytes:
    return struct.pack(">i", round(value * 65536))


def _curve(gamma: float | None) -> bytes:
    """A gamma, or None for the curve of sRGB (IEC 61966-2-1) in a table."""
    if gamma is not None:
        return b"curv\0\0\0\0" + struct.pack(">IH2x", 1, round(gamma * 256))
    x = np.linspace(0, 1, 1024)
    light = np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)
    table = (light * 65535).round().astype(">u2").tobytes()
    return b"curv\0\0\0\0" + struct.pack(">I", len(x)) + table


def profile(
    red: tuple, green: tuple, blue: tuple, gamma: float | None, white: tuple = (0.9642, 1, 0.8249)
) -> bytes:
    """ICC of version 2: colorants as XYZ under D50, one curve."""

    def xyz(values: tuple) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(map(_fixed, values))

    curve = _curve(gamma)
    text = b"a profile\0"
    name = b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + b"\0" * 79
    tags = {b"desc": name + b"\0" * (-len(name) % 4), b"cprt": b"text\0\0\0\0none\0\0\0\0"}
    tags |= {b"wtpt": xyz(white), b"rXYZ": xyz(red), b"gXYZ": xyz(green), b"bXYZ": xyz(blue)}
    tags |= {b"rTRC": curve, b"gTRC": curve, b"bTRC": curve}
    at, table, data = 128 + 4 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for tag, body in tags.items():
        table += tag + struct.pack(">II", at + len(data), len(body))
        data += body
    size = 128 + len(table) + len(data)
    head = struct.pack(">I4sI4s4s4s", size, b"lcms", 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    head += struct.pack(">6H", 2024, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + xyz(white)[8:]
    return head + bytes(128 - len(head)) + table + data


ADOBE_RGB = profile(
    (0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457), 2.2
)
DISPLAY_P3 = profile(
    (0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407), None
)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def grey_profile(gamma: float) -> bytes:
    """ICC of version 2 with one curve."""
    curve = _curve(gamma)
    white = b"XYZ \0\0\0\0" + b"".join(map(_fixed, (0.9642, 1, 0.8249)))
    at = 128 + 4 + 12 * 2
    table = struct.pack(">I", 2) + b"wtpt" + struct.pack(">II", at, len(white))
    table += b"kTRC" + struct.pack(">II", at + len(white), len(curve))
    size = at + len(white) + len(curve)
    head = struct.pack(">I4sI4s4s4s", size, b"lcms", 0x02400000, b"mntr", b"GRAY", b"XYZ ")
    head += struct.pack(">6H", 2024, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + white[8:]
    return head + bytes(128 - len(head)) + table + white + curve


# smooth() as a phone stores it: HEVC in a grid of tiles, colours at half the resolution.
HEIC = base64.b64decode(
    """
AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAa1tZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAA
AAAAAAAAAAAAAA5waXRtAAAAAAACAAAAEGlkYXQAAAAAADAAIAAAADhpbG9jAQAAAERAAAIAAQAAAAAAAAHRAAEA
AAAAAAABpwACAAEAAAAAAAAAAQAAAAAAAAAIAAAAOGlpbmYAAAAAAAIAAAAVaW5mZQIAAAEAAQAAaHZjMQAAAAAV
aW5mZQIAAAAAAgAAZ3JpZAAAAADYaXBycAAAALZpcGNvAAAAdmh2Y0MBA3AAAAAAAAAAAAAe8AD8/fj4AAAPAyAA
AQAYQAEMAf//A3AAAAMAkAAAAwAAAwAeugJAIQABACpCAQEDcAAAAwCQAAADAAADAB6gIIEFlurkprm4EBAwIAAA
AwAgAAADACEiAAEABkQBwXPAiQAAABRpc3BlAAAAAAAAAEAAAABAAAAAFGlzcGUAAAAAAAAAMAAAACAAAAAQcGl4
aQAAAAADCAgIAAAAGmlwbWEAAAAAAAAAAgABAoECAAICA4QAAAAaaXJlZgAAAAAAAAAOZGltZwACAAEAAQAAAa9t
ZGF0AAABoygBrwa48ihYwZoXsarsO/Fe5KX+Y03sqSao+HRxe7Kovy8Z9d/cWv+smLV/Pz/hX53/KtCcJIDbpIrN
o9W3ePXfs3xJIZ3jzGpz6SuRf2tB7Sm+dYyl4YOLLutPRVPMTFCXTBA+C+xL8Y6vPiEmXedsDViY37hz3EEfvb2p
tvJKHNTk7cI7exqOB3ec3L2WPfndE+7Uvvhf3cBBsfkiwcP9KWhnNBLoLt0pNpzNim6bxejmNHc5ppicqaAS8vx7
4nvKiLnPCUh1uCjmbt9xOFG7wSgyIJEWpo3q2t9pJ1T+dkLtacizkRmt7Y2LgYjXxEvFPPbh8pcRKRKvTyhMV9KQ
ONklDQaL9/37aV6UvwR/lSY3YTHLEh/gxK9KHwgetm/uDElj1BKYp1BhxmlFbBHi1/+qYpA3c7lQ05TQ+qW6V9gq
/bpLyS06A2ODdQrmqmpF9tE//4ArAFEo4Uvv2U0ML9+IcG0HYN9nlzNaTzoJqPlcdEKC4c9izPlxQTtjGG/6oOKF
VXrha8AQaukJEs2oIS/RXf+8/6twNaImSvoG2Nv4
"""
)
