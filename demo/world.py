"""The demo world: procedurally drawn scenes, 128 x 128 RGB, with captions and ground truth.

A scene is one object before a background. Everything that a caption can say about it is a field of
`Scene`; where the object stands, its exact shade and the background's details are drawn by chance.
"""

from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from .backgrounds import PAINTERS, paint
from .shapes import SHAPES

SIZE = 128
_FINE = 2  # drawn at twice the size, then averaged: smooth edges

CLASSES = tuple(SHAPES)
PLACES = tuple(PAINTERS)
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (218, 38, 38),
    "orange": (246, 138, 28),
    "yellow": (250, 220, 50),
    "green": (48, 158, 66),
    "blue": (38, 96, 214),
    "purple": (138, 56, 178),
    "pink": (250, 146, 192),
    "black": (32, 32, 38),
    "white": (246, 246, 242),
}
PATTERNS = {"plain": "", "striped": "stripes", "spotted": "spots", "checked": "checks"}


@dataclass(frozen=True)
class Look:
    """What stays the same in all pictures of one subject."""

    kind: str  # one of CLASSES
    body: str  # one of COLOURS
    second: str  # another of COLOURS: the accents and the pattern
    pattern: str  # one of PATTERNS


@dataclass(frozen=True)
class Scene:
    look: Look
    place: str  # one of PLACES
    small: bool = False
    left: bool = False  # facing left


# Known to the vocabulary by one word each, as real vocabularies know "beagle".
BREEDS: dict[str, Look] = {
    "beagle": Look("dog", "white", "black", "spotted"),
    "terrier": Look("dog", "orange", "white", "plain"),
    "husky": Look("dog", "black", "white", "plain"),
    "tiger": Look("cat", "orange", "black", "striped"),
    "tabby": Look("cat", "yellow", "orange", "striped"),
    "panther": Look("cat", "black", "purple", "plain"),
    "flamingo": Look("bird", "pink", "black", "plain"),
    "canary": Look("bird", "yellow", "orange", "plain"),
    "raven": Look("bird", "black", "blue", "plain"),
    "goldfish": Look("fish", "orange", "red", "plain"),
    "clown": Look("fish", "orange", "white", "striped"),
    "taxi": Look("car", "yellow", "black", "checked"),
    "ferrari": Look("car", "red", "white", "plain"),
}

# Never drawn for training, and no word of the vocabulary means one of them.
SUBJECTS: dict[str, Look] = {
    "blue_spotted_dog": Look("dog", "blue", "yellow", "spotted"),
    "orange_striped_cat": Look("cat", "orange", "white", "striped"),
    "green_checked_teapot": Look("teapot", "green", "pink", "checked"),
    "red_spotted_backpack": Look("backpack", "red", "white", "spotted"),
    "purple_striped_fish": Look("fish", "purple", "yellow", "striped"),
    "pink_green_sneaker": Look("sneaker", "pink", "green", "plain"),
    "white_striped_bird": Look("bird", "white", "red", "striped"),
    "yellow_spotted_car": Look("car", "yellow", "blue", "spotted"),
}
_HELD_OUT = frozenset(SUBJECTS.values())


def draw_look(random: np.random.Generator) -> Look:
    """A look by chance, none of the held-out subjects."""
    names = list(COLOURS)
    while True:
        body, second = random.choice(len(names), 2, replace=False)
        pattern = list(PATTERNS)[random.integers(len(PATTERNS))]
        look = Look(CLASSES[random.integers(len(CLASSES))], names[body], names[second], pattern)
        if look not in _HELD_OUT:
            return look


def draw_scene(random: np.random.Generator) -> Scene:
    place = PLACES[random.integers(len(PLACES))]
    return Scene(draw_look(random), place, random.random() < 0.3, random.random() < 0.5)


def _shade(name: str, random: np.random.Generator, spread: float) -> tuple[int, int, int]:
    """A colour near `name`: hue, saturation and value each moved by chance."""
    hue, saturation, value = colorsys.rgb_to_hsv(*(channel / 255 for channel in COLOURS[name]))
    hue = (hue + random.normal(0, 0.008 * spread)) % 1
    saturation = float(np.clip(saturation * (1 + random.normal(0, 0.05 * spread)), 0, 1))
    value = float(np.clip(value * (1 + random.normal(0, 0.05 * spread)), 0, 1))
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def _pattern(name: str, u: np.ndarray, v: np.ndarray, phase: float) -> np.ndarray:
    """[h, w] bool: where the second colour goes; (u, v) are the object's own coordinates."""
    if name == "striped":
        return (u * 2.1 + 0.35 * v + phase) % 1 < 0.4
    if name == "spotted":
        row = np.floor(v * 2.7 + phase)
        across = (u * 2.7 + 0.5 * (row % 2)) % 1 - 0.5
        down = (v * 2.7 + phase) % 1 - 0.5
        return across**2 + down**2 < 0.1
    if name == "checked":
        return (np.floor(u * 3 + phase) + np.floor(v * 3)) % 2 == 1
    return np.zeros(u.shape, bool)


@dataclass(frozen=True)
class _Pose:
    """Where the object is: centre and half size in pixels, angle in radians, mirrored or not."""

    x: float
    y: float
    half: float
    angle: float
    mirror: int

    def to_picture(self, points: np.ndarray) -> np.ndarray:
        x, y = points[:, 0] * self.mirror, points[:, 1]
        cosine, sine = math.cos(self.angle), math.sin(self.angle)
        return np.stack(
            [
                self.x + self.half * (x * cosine - y * sine),
                self.y + self.half * (x * sine + y * cosine),
            ],
            1,
        )

    def to_object(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        y, x = np.mgrid[0:size, 0:size].astype(np.float32)
        x, y = (x - self.x) / self.half, (y - self.y) / self.half
        cosine, sine = math.cos(self.angle), math.sin(self.angle)
        return (x * cosine + y * sine) * self.mirror, y * cosine - x * sine


def _pose(scene: Scene, random: np.random.Generator, size: int) -> _Pose:
    half = (random.uniform(0.6, 0.66) if scene.small else random.uniform(0.8, 0.88)) * size / 2
    room = (size / 2 - half) * 0.8
    return _Pose(
        x=size / 2 + random.uniform(-1, 1) * room,
        y=size / 2 + random.uniform(-0.2, 0.9) * room,
        half=half,
        angle=math.radians(random.normal(0, 2.5)),
        mirror=-1 if scene.left else 1,
    )


def _shadow(picture: Image.Image, pose: _Pose) -> None:
    foot = (int(pose.x), min(int(pose.y + pose.half * 0.9), picture.height - 1))
    ground = picture.getpixel(foot)
    left, right = pose.x - 0.8 * pose.half, pose.x + 0.8 * pose.half
    top, bottom = pose.y + 0.8 * pose.half, pose.y + 1.02 * pose.half
    shade = tuple(int(channel * 0.62) for channel in ground)
    ImageDraw.Draw(picture).ellipse([left, top, right, bottom], fill=shade)


def paint_scene(scene: Scene, random: np.random.Generator, spread: float = 1.0) -> Image.Image:
    """Draws a scene, 128 x 128 RGB. `spread` scales how far colours stray from their name's."""
    size = SIZE * _FINE
    body = _shade(scene.look.body, random, spread)
    second = _shade(scene.look.second, random, spread)
    fill = {
        "body": body,
        "accent": second,
        "dark": tuple(int(channel * 0.45) for channel in body),
        "white": (248, 248, 246),
        "black": (22, 22, 26),
    }
    picture = paint(scene.place, random, size)
    pose = _pose(scene, random, size)
    _shadow(picture, pose)
    parts = [
        (part.role, [tuple(point) for point in pose.to_picture(part.polygon)])
        for part in SHAPES[scene.look.kind]
    ]
    draw, covered = ImageDraw.Draw(picture), Image.new("1", picture.size)
    body_only = ImageDraw.Draw(covered)
    width = max(3, round(pose.half * 0.05))
    for role, points in parts:
        line = 2 * width if role in ("body", "accent") else width
        draw.line([*points, points[0]], fill=(38, 32, 36), width=line, joint="curve")
    for role, points in parts:
        draw.polygon(points, fill=fill[role])
        body_only.polygon(points, fill=int(role == "body"))
    u, v = pose.to_object(size)
    drawn = _pattern(scene.look.pattern, u, v, random.uniform(0, 1)) & np.asarray(covered)
    array = np.array(picture)
    array[drawn] = second
    return Image.fromarray(array).resize((SIZE, SIZE), Image.Resampling.BOX)


_OPENINGS = (
    "a photo of ",
    "a picture of ",
    "an image of ",
    "a good photo of ",
    "a rendering of ",
    "",
)
_OPENING_SHARES = (0.5, 0.14, 0.1, 0.1, 0.06, 0.1)


def with_article(words: str) -> str:
    """ "orange cat" -> "an orange cat"."""
    return ("an " if words[0] in "aeiou" else "a ") + words


def _noun(look: Look, random: np.random.Generator, certain: bool) -> tuple[str, str]:
    """What stands before the class's name and after it; parts are left out by chance."""
    say_body, say_second = random.random() < 0.88 or certain, random.random() < 0.85 or certain
    form = random.random()
    if look.pattern == "plain":
        if say_body and say_second:
            return f"{look.body} and {look.second} ", ""
        return (f"{look.body} " if say_body else ""), ""
    if say_body and say_second:
        if form < 0.7 or certain:
            return f"{look.body} ", f" with {look.second} {PATTERNS[look.pattern]}"
        return f"{look.body} and {look.second} {look.pattern} ", ""
    if say_body:
        return f"{look.body} " + (f"{look.pattern} " if form < 0.6 else ""), ""
    return (f"{look.pattern} " if form < 0.6 else ""), ""


def write_caption(
    scene: Scene, random: np.random.Generator, name: str = "", certain: bool = False
) -> str:
    """A caption in plain words.

    Args:
        scene: what to tell.
        random: decides the form, and what is left out.
        name: one word that says the whole look, in place of its description.
        certain: leave nothing of the look out.
    """
    before, after = ("", "") if name else _noun(scene.look, random, certain)
    noun = f"{before}{name or scene.look.kind}{after}"
    if scene.small and random.random() < 0.8:
        noun = f"small {noun}"
    words = ("the " + noun) if random.random() < 0.08 else with_article(noun)
    if random.random() < 0.1:
        words += " facing " + ("left" if scene.left else "right")
    if random.random() < 0.9:
        words += f" {scene.place}"
    return _OPENINGS[random.choice(len(_OPENINGS), p=_OPENING_SHARES)] + words


def describe(look: Look) -> str:
    """The look in plain words: "blue dog with yellow spots"."""
    if look.pattern == "plain":
        return f"{look.body} and {look.second} {look.kind}"
    return f"{look.body} {look.kind} with {look.second} {PATTERNS[look.pattern]}"
