"""Silhouettes of the demo world's eight classes, as polygons.

Coordinates: x to the right, y down, the object within [-1, 1] squared and facing right. Each part
has a role that says what paints it:

    body    the body colour, with the pattern on it
    accent  the second colour
    dark    a darker shade of the body colour
    white, black    as they say
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np


class Part(NamedTuple):
    role: str
    polygon: np.ndarray  # [points, 2]


def ellipse(
    x: float,
    y: float,
    width: float,
    height: float,
    start: float = 0,
    end: float = 360,
    tilt: float = 0,
    points: int = 30,
) -> np.ndarray:
    """Half axes `width` and `height`; `start`, `end` and `tilt` in degrees, clockwise."""
    angle = np.linspace(math.radians(start), math.radians(end), points)
    across, down = width * np.cos(angle), height * np.sin(angle)
    cosine, sine = math.cos(math.radians(tilt)), math.sin(math.radians(tilt))
    return np.stack([x + across * cosine - down * sine, y + across * sine + down * cosine], 1)


def arc(
    x: float, y: float, width: float, height: float, thickness: float, start: float, end: float
) -> np.ndarray:
    """A band along an ellipse: handles, hoops and tails."""
    outer = ellipse(x, y, width, height, start, end, points=20)
    inner = ellipse(x, y, width - thickness, height - thickness, end, start, points=20)
    return np.concatenate([outer, inner])


def box(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], float)


def polygon(*points: tuple[float, float]) -> np.ndarray:
    return np.array(points, float)


def _dog() -> list[Part]:
    legs = [box(x, 0.25, x + 0.2, 0.92) for x in (-0.74, -0.46, 0.08, 0.36)]
    return [
        Part("accent", polygon((-0.6, -0.02), (-0.96, -0.5), (-0.8, -0.58), (-0.42, -0.12))),
        *(Part("body", leg) for leg in legs),
        Part("body", ellipse(-0.1, 0.12, 0.72, 0.42)),
        Part("body", polygon((0.12, 0.2), (0.2, -0.5), (0.62, -0.36), (0.58, 0.34))),
        Part("body", ellipse(0.48, -0.5, 0.36, 0.32)),
        Part("body", ellipse(0.78, -0.36, 0.24, 0.17)),
        Part("accent", ellipse(0.24, -0.4, 0.14, 0.36, tilt=12)),
        Part("black", ellipse(0.95, -0.42, 0.08, 0.07)),
        Part("white", ellipse(0.56, -0.6, 0.09, 0.09)),
        Part("black", ellipse(0.58, -0.6, 0.05, 0.05)),
    ]


def _cat() -> list[Part]:
    return [
        Part("body", arc(-0.56, 0.3, 0.42, 0.56, 0.16, 70, 260)),
        Part(
            "body",
            polygon(
                (-0.54, 0.94), (-0.5, 0.3), (-0.24, -0.1), (0.24, -0.1), (0.5, 0.3), (0.54, 0.94)
            ),
        ),
        Part("accent", ellipse(-0.28, 0.88, 0.24, 0.12)),
        Part("accent", ellipse(0.28, 0.88, 0.24, 0.12)),
        Part("accent", polygon((-0.5, -0.4), (-0.52, -1.0), (-0.06, -0.7))),
        Part("accent", polygon((0.5, -0.4), (0.52, -1.0), (0.06, -0.7))),
        Part("body", ellipse(0, -0.38, 0.54, 0.43)),
        Part("white", ellipse(-0.22, -0.44, 0.12, 0.12)),
        Part("white", ellipse(0.22, -0.44, 0.12, 0.12)),
        Part("black", ellipse(-0.2, -0.44, 0.05, 0.1)),
        Part("black", ellipse(0.24, -0.44, 0.05, 0.1)),
        Part("black", polygon((-0.08, -0.26), (0.08, -0.26), (0, -0.16))),
    ]


def _bird() -> list[Part]:
    return [
        Part("dark", box(-0.16, 0.6, -0.07, 0.95)),
        Part("dark", box(0.1, 0.6, 0.19, 0.95)),
        Part(
            "accent", polygon((-0.5, 0.1), (-1.0, -0.12), (-1.0, 0.12), (-0.9, 0.34), (-0.4, 0.42))
        ),
        Part("body", ellipse(-0.04, 0.2, 0.64, 0.5, tilt=-12)),
        Part("body", ellipse(0.42, -0.42, 0.38, 0.36)),
        Part("accent", polygon((0.74, -0.56), (1.02, -0.36), (0.72, -0.26))),
        Part("white", ellipse(0.5, -0.5, 0.11, 0.11)),
        Part("black", ellipse(0.53, -0.5, 0.055, 0.055)),
    ]


def _fish() -> list[Part]:
    return [
        Part("accent", polygon((-0.5, 0.02), (-0.98, -0.5), (-0.86, 0.02), (-0.98, 0.54))),
        Part("accent", polygon((-0.3, -0.36), (-0.1, -0.8), (0.32, -0.72), (0.36, -0.36))),
        Part("accent", polygon((-0.2, 0.4), (-0.12, 0.76), (0.16, 0.66), (0.2, 0.4))),
        Part("body", ellipse(0.16, 0.02, 0.78, 0.5, points=40)),
        Part("white", ellipse(0.62, -0.12, 0.13, 0.13)),
        Part("black", ellipse(0.65, -0.12, 0.065, 0.065)),
        Part("black", polygon((0.66, 0.2), (0.9, 0.14), (0.88, 0.2), (0.68, 0.27))),
    ]


def _car() -> list[Part]:
    shell = polygon(
        (-0.98, 0.42), (-0.98, 0.02), (-0.62, -0.1), (-0.38, -0.6), (0.34, -0.6), (0.66, -0.1)
    )
    shell = np.concatenate([shell, polygon((0.94, 0.02), (1.0, 0.2), (1.0, 0.42))])
    return [
        Part("body", shell),
        Part("white", polygon((-0.44, -0.14), (-0.28, -0.47), (-0.06, -0.47), (-0.06, -0.14))),
        Part("white", polygon((0.06, -0.14), (0.06, -0.47), (0.26, -0.47), (0.46, -0.14))),
        *(Part("black", ellipse(x, 0.46, 0.27, 0.27)) for x in (-0.54, 0.54)),
        *(Part("accent", ellipse(x, 0.46, 0.17, 0.17)) for x in (-0.54, 0.54)),
        Part("accent", ellipse(0.9, 0.1, 0.11, 0.11)),
        Part("accent", box(-1.0, 0.16, -0.84, 0.34)),
    ]


def _teapot() -> list[Part]:
    return [
        Part("accent", arc(-0.6, 0.12, 0.38, 0.42, 0.15, 80, 280)),
        Part("body", polygon((0.4, 0.5), (1.0, -0.34), (0.98, -0.46), (0.74, -0.44), (0.4, 0.02))),
        Part("body", ellipse(0, 0.22, 0.68, 0.58, points=40)),
        Part("accent", box(-0.38, 0.72, 0.38, 0.86)),
        Part("accent", ellipse(0, -0.32, 0.42, 0.24, 180, 360)),
        Part("accent", ellipse(0, -0.62, 0.13, 0.13)),
    ]


def _backpack() -> list[Part]:
    sack = np.concatenate(
        [ellipse(0, -0.26, 0.66, 0.56, 180, 360), polygon((0.68, 0.8), (0.54, 0.92), (-0.54, 0.92))]
    )
    pocket = np.concatenate(
        [polygon((-0.44, 0.26), (0.44, 0.26)), ellipse(0, 0.54, 0.44, 0.28, 0, 180)]
    )
    return [
        Part("accent", arc(0, -0.78, 0.24, 0.22, 0.11, 170, 370)),
        Part("accent", ellipse(-0.72, 0.36, 0.2, 0.4)),
        Part("accent", ellipse(0.72, 0.36, 0.2, 0.4)),
        Part("body", np.concatenate([sack, polygon((-0.68, 0.8))])),
        Part("accent", pocket),
        Part("dark", box(-0.36, 0.36, 0.36, 0.42)),
    ]


def _sneaker() -> list[Part]:
    upper = polygon((-0.9, 0.4), (-0.92, -0.5), (-0.74, -0.64), (-0.2, -0.6), (-0.04, -0.34))
    upper = np.concatenate([upper, polygon((0.36, -0.08), (0.8, 0.06), (0.98, 0.28), (0.98, 0.4))])
    return [
        Part("body", upper),
        Part("accent", polygon((-0.95, 0.36), (1.0, 0.36), (0.97, 0.66), (-0.92, 0.66))),
        Part("dark", polygon((-0.8, -0.54), (-0.28, -0.52), (-0.22, -0.4), (-0.76, -0.4))),
        Part("white", polygon((-0.14, -0.36), (0.1, -0.42), (0.13, -0.33), (-0.1, -0.26))),
        Part("white", polygon((0.04, -0.2), (0.28, -0.26), (0.31, -0.17), (0.08, -0.1))),
    ]


SHAPES: dict[str, list[Part]] = {
    "dog": _dog(),
    "cat": _cat(),
    "bird": _bird(),
    "fish": _fish(),
    "car": _car(),
    "teapot": _teapot(),
    "backpack": _backpack(),
    "sneaker": _sneaker(),
}
