"""A loss curve: its file format, and fewer points of the same shape for the page."""

from __future__ import annotations

import struct
import zlib
from array import array
from collections.abc import Iterable, Sequence
from math import isfinite, nan
from sys import byteorder

Point = tuple[int, float | None, float | None]
"""(step, loss, smoothed loss); None where the number was not finite."""

Validation = tuple[int, float | None]
"""(step, loss of the fixed samples); None where the loss was not finite."""

PAGE_POINTS = 1000
"""As many points as the page is given."""

_HEADER = struct.Struct("<8sQI")  # magic, points, CRC-32 of what follows
_MAGIC = b"ZOCURVE1"


def finite(value: float | None) -> float | None:
    """The number, or None for NaN, an infinity and None itself."""
    if value is None:
        return None
    value = float(value)
    return value if isfinite(value) else None


def pack_curve(points: Iterable[Sequence[float | None]]) -> bytes:
    """A curve as bytes: little-endian doubles, three a point, NaN for None."""
    flat = array("d")
    for step, loss, smooth in points:
        flat.extend((step, nan if loss is None else loss, nan if smooth is None else smooth))
    if byteorder == "big":
        flat.byteswap()
    body = flat.tobytes()
    return _HEADER.pack(_MAGIC, len(flat) // 3, zlib.crc32(body)) + body


def unpack_curve(data: bytes) -> list[Point]:
    """The points of `pack_curve`. Raises ValueError when the bytes are damaged."""
    if len(data) < _HEADER.size:
        raise ValueError("the curve is cut short")
    magic, points, checksum = _HEADER.unpack_from(data)
    body = data[_HEADER.size :]
    if magic != _MAGIC or len(body) != 24 * points or zlib.crc32(body) != checksum:
        raise ValueError("the curve is damaged")
    flat = array("d", body)
    if byteorder == "big":
        flat.byteswap()
    return [(int(s), finite(a), finite(b)) for s, a, b in zip(*[iter(flat)] * 3, strict=True)]


def pack_validations(validations: Iterable[Validation]) -> bytes:
    """As `pack_curve`."""
    return pack_curve((step, loss, None) for step, loss in validations)


def unpack_validations(data: bytes) -> list[Validation]:
    """What `pack_validations` packed. Raises ValueError when the bytes are damaged."""
    return [(step, loss) for step, loss, _ in unpack_curve(data)]


def thin_validations(validations: Sequence[Validation], limit: int = 400) -> list[Validation]:
    """As `thin`: each event bears all of them, and a page has no room for more dots."""
    kept = thin([(step, loss, None) for step, loss in validations], limit)
    return [(step, loss) for step, loss, _ in kept]


def thin(points: Sequence[Point], limit: int = PAGE_POINTS) -> list[Point]:
    """At most `limit` (4 or more) of the points: the first, the last, and from even stretches
    between them the lowest and the highest loss, so that no peak is lost."""
    if len(points) <= limit:
        return list(points)
    inner = len(points) - 2
    stretches = (limit - 2) // 2
    kept = [points[0]]
    for i in range(stretches):
        part = range(1 + i * inner // stretches, 1 + (i + 1) * inner // stretches)
        known = [j for j in part if points[j][1] is not None]
        if known:
            low = min(known, key=lambda j: points[j][1])
            high = max(known, key=lambda j: points[j][1])
            kept += [points[j] for j in sorted({low, high})]
        else:
            kept.append(points[part[0]])
    return [*kept, points[-1]]
