"""The demo world's eight backgrounds, painted with numpy and Pillow; no two pictures alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageDraw

Rgb = Sequence[float]


def _coordinates(size: int) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size
    return x, y


def _blend(first: Rgb, second: Rgb, share: np.ndarray) -> np.ndarray:
    """[h, w, 3]: `first` where share is 0, `second` where it is 1."""
    share = share.clip(0, 1)[..., None]
    return np.asarray(first, np.float32) * (1 - share) + np.asarray(second, np.float32) * share


def _clouds(random: np.random.Generator, size: int, cells: int) -> np.ndarray:
    """[h, w] smooth noise in [0, 1]."""
    grid = (random.random((cells, cells)) * 255).astype(np.uint8)
    smooth = Image.fromarray(grid).resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(smooth, np.float32) / 255


def _picture(array: np.ndarray) -> Image.Image:
    return Image.fromarray(array.clip(0, 255).astype(np.uint8))


def _beach(random: np.random.Generator, size: int) -> Image.Image:
    _, y = _coordinates(size)
    horizon = random.uniform(0.32, 0.44)
    shore = horizon + 0.16
    sky = _blend((116, 190, 242), (196, 230, 250), y / horizon)
    sea = _blend((24, 110, 190), (60, 168, 206), (y - horizon) / 0.16)
    sand = _blend((240, 216, 154), (224, 192, 126), _clouds(random, size, 6))
    array = np.where((y > horizon)[..., None], sea, sky)
    picture = _picture(np.where((y > shore)[..., None], sand, array))
    x, r = random.uniform(0.1, 0.9) * size, 0.07 * size
    sun = [x - r, 0.05 * size, x + r, 0.05 * size + 2 * r]
    ImageDraw.Draw(picture).ellipse(sun, fill=(255, 240, 150))
    return picture


def _snow(random: np.random.Generator, size: int) -> Image.Image:
    x, y = _coordinates(size)
    horizon = random.uniform(0.4, 0.52)
    hills = horizon + 0.04 * np.sin(x * random.uniform(4, 8) + random.uniform(0, 6))
    sky = _blend((150, 178, 214), (198, 216, 236), y / horizon)
    ground = _blend((236, 242, 250), (212, 224, 240), _clouds(random, size, 5))
    picture = _picture(np.where((y > hills)[..., None], ground, sky))
    draw = ImageDraw.Draw(picture)
    for _ in range(int(random.integers(2, 5))):
        left, height = random.uniform(0, 1) * size, random.uniform(0.18, 0.32) * size
        base = (horizon + 0.03) * size
        tree = [(left - height / 3, base), (left + height / 3, base), (left, base - height)]
        draw.polygon(tree, fill=(66, 104, 94))
    return picture


def _forest(random: np.random.Generator, size: int) -> Image.Image:
    _, y = _coordinates(size)
    picture = _picture(_blend((20, 62, 36), (36, 92, 50), _clouds(random, size, 6)))
    draw = ImageDraw.Draw(picture)
    for place in np.arange(4) / 4:
        left, width = (place + random.uniform(0, 0.2)) * size, random.uniform(0.05, 0.08) * size
        draw.rectangle([left, 0, left + width, 0.72 * size], fill=(82, 56, 34))
    ground = _blend((52, 78, 34), (40, 62, 28), _clouds(random, size, 5))
    array = np.where((y > 0.72)[..., None], ground, np.asarray(picture, np.float32))
    return _picture(array)


def _city(random: np.random.Generator, size: int) -> Image.Image:
    picture = Image.new("RGB", (size, size), (202, 204, 212))
    draw = ImageDraw.Draw(picture)
    street = random.uniform(0.5, 0.58) * size
    left = -random.uniform(0, 0.1) * size
    walls = [(150, 96, 84), (170, 140, 112), (120, 124, 140), (160, 120, 100)]
    while left < size:
        width, top = random.uniform(0.2, 0.3) * size, random.uniform(0, 0.14) * size
        draw.rectangle([left, top, left + width, street], fill=walls[int(random.integers(4))])
        for row in np.arange(top + 0.06 * size, street - 0.08 * size, 0.15 * size):
            pane = [left + 0.04 * size, row, left + width - 0.05 * size, row + 0.07 * size]
            draw.rectangle(pane, fill=(228, 216, 162))
        left += width + 0.015 * size
    draw.rectangle([0, street, size, size], fill=(92, 94, 100))
    draw.rectangle([0, street, size, street + 0.03 * size], fill=(176, 176, 176))
    for dash in np.arange(-0.2, 1, 0.2) + random.uniform(0, 0.2):
        line = [dash * size, 0.9 * size, (dash + 0.1) * size, 0.925 * size]
        draw.rectangle(line, fill=(232, 232, 224))
    return picture


def _wooden_floor(random: np.random.Generator, size: int) -> Image.Image:
    x, y = _coordinates(size)
    array = _blend((200, 150, 96), (182, 132, 82), _clouds(random, size, 6))
    plank = (y * 5).astype(int)
    array = array + random.uniform(-12, 12, 6).astype(np.float32)[plank][..., None]
    seams = np.abs((y * 5) % 1) < 0.09
    joints = np.abs((x * 1.3 + random.random(6)[plank]) % 1) < 0.02
    array[seams | joints] *= 0.68
    return _picture(array)


def _meadow(random: np.random.Generator, size: int) -> Image.Image:
    x, y = _coordinates(size)
    horizon = random.uniform(0.3, 0.42)
    hills = horizon + 0.03 * np.sin(x * random.uniform(3, 6) + random.uniform(0, 6))
    sky = _blend((140, 202, 248), (204, 232, 250), y / horizon)
    grass = _blend((112, 190, 72), (80, 156, 52), _clouds(random, size, 6))
    picture = _picture(np.where((y > hills)[..., None], grass, sky))
    draw = ImageDraw.Draw(picture)
    for _ in range(10):
        left, top = random.random() * size, random.uniform(horizon + 0.1, 1) * size
        r = 0.014 * size
        draw.ellipse([left - r, top - r, left + r, top + r], fill=(250, 246, 200))
    return picture


def _night(random: np.random.Generator, size: int) -> Image.Image:
    _, y = _coordinates(size)
    sky = _blend((14, 18, 56), (44, 48, 104), y / 0.7)
    ground = _blend((30, 34, 60), (22, 24, 46), _clouds(random, size, 5))
    picture = _picture(np.where((y > 0.7)[..., None], ground, sky))
    draw = ImageDraw.Draw(picture)
    for _ in range(16):
        left, top, r = random.random() * size, random.uniform(0, 0.6) * size, 0.009 * size
        draw.ellipse([left - r, top - r, left + r, top + r], fill=(240, 240, 220))
    left, r = random.uniform(0.12, 0.88) * size, 0.08 * size
    moon = [left - r, 0.05 * size, left + r, 0.05 * size + 2 * r]
    draw.ellipse(moon, fill=(250, 246, 210))
    return picture


def _purple_rug(random: np.random.Generator, size: int) -> Image.Image:
    x, y = _coordinates(size)
    array = _blend((128, 82, 164), (112, 66, 148), _clouds(random, size, 6))
    edge = np.maximum(np.abs(x - 0.5), np.abs(y - 0.5)) + random.uniform(-0.02, 0.02)
    squares = ((x * 10).astype(int) + (y * 10).astype(int)) % 2 == 1
    array[squares & (edge < 0.4)] += 12
    array[(edge > 0.4) & (edge < 0.44)] = (216, 180, 96)
    array[edge > 0.47] = (78, 42, 104)
    return _picture(array)


PAINTERS: dict[str, Callable[[np.random.Generator, int], Image.Image]] = {
    "on the beach": _beach,
    "in the snow": _snow,
    "in the forest": _forest,
    "in the city": _city,
    "on a wooden floor": _wooden_floor,
    "in a meadow": _meadow,
    "at night": _night,
    "on a purple rug": _purple_rug,
}


def paint(place: str, random: np.random.Generator, size: int) -> Image.Image:
    """A square picture of `size` pixels a side. `place` is a key of PAINTERS."""
    return PAINTERS[place](random, size)
