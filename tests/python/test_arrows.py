"""The folders of native/ are arrows: a folder includes only from itself and from its left."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

# The folders that lie directly left of each; what lies left of those is allowed as well.
LEFT = {
    "core": (),
    "io": ("core",),
    "ops": ("io",),
    "diffusion": ("core",),
    "nn": ("ops", "diffusion"),
    "zo": ("core",),
    "pictures": ("nn",),
    "words": ("pictures",),
    "settings": ("pictures", "zo"),
    "objective": ("words", "settings"),
    "ranks": ("objective",),
    "train": ("ranks",),
    "reports": ("train",),
    "jobs": ("io",),
    "server": ("jobs",),
    "service": ("reports", "server"),
    "cli": ("service",),
    "python": ("cli",),
}
WITHOUT_TORCH = {"core", "io", "jobs", "server"}
TORCH = re.compile(r"(ATen|torch|c10|caffe2)(/|\.h$)")
INCLUDE = re.compile(r"^[ \t]*#[ \t]*include[ \t]*([<\"])([^>\"]+)[>\"]", re.MULTILINE)
SOURCES = {".h", ".hpp", ".cpp", ".cu", ".cuh"}


def allowed(folder: str) -> set[str]:
    """The folder itself and all that lies left of it."""
    found = {folder}
    for left in LEFT[folder]:
        found |= allowed(left)
    return found


def violations(files: dict[str, str]) -> list[str]:
    """Back arrows in sources given as {path below native/: text}."""
    found = []
    for path, text in sorted(files.items()):
        folder = path.split("/")[0]
        if folder not in LEFT:
            found.append(f"{path}: the folder {folder} is not in the design")
            continue
        for bracket, name in INCLUDE.findall(text):
            target = name.split("/")[0]
            if folder in WITHOUT_TORCH and TORCH.match(name):
                found.append(f"{path}: {folder} is torch-free and includes {name}")
            elif bracket == '"' and target not in LEFT:
                found.append(f'{path}: "{name}" is not written from native/')
            elif target in LEFT and target not in allowed(folder):
                found.append(f"{path}: {folder} must not include {name}")
    return found


def circles(files: dict[str, str]) -> list[list[str]]:
    """Files that include one another in a circle, given as {path below native/: text}: each circle
    once, from its first name on."""
    arrows = {
        path: sorted(name for _, name in INCLUDE.findall(text) if name in files and name != path)
        for path, text in files.items()
    }
    found: set[tuple[str, ...]] = set()
    done: set[str] = set()

    def follow(path: str, trail: list[str]) -> None:
        if path in trail:
            circle = trail[trail.index(path) :]
            first = circle.index(min(circle))
            found.add(tuple(circle[first:] + circle[:first]))
        elif path not in done:
            for name in arrows[path]:
                follow(name, [*trail, path])
            done.add(path)

    for path in sorted(files):
        follow(path, [])
    return [list(circle) for circle in sorted(found)]


# Rooms in which a header counts together with its source: what implements something does not need
# what stands on it. (In the others an interface and what is made behind it may know each other.)
STRICT = {"core", "io", "pictures", "words", "settings", "zo", "diffusion", "objective", "ranks"}
STRICT |= {"train", "reports", "server", "service", "cli"}


def as_units(files: dict[str, str]) -> dict[str, str]:
    """Headers, with the text of the sources of strict rooms beside their own."""
    units = {path: text for path, text in files.items() if path.endswith(".h")}
    for path, text in files.items():
        header = path.removesuffix(".cpp") + ".h"
        if path.endswith(".cpp") and header in units and path.split("/")[0] in STRICT:
            units[header] += text
    return units


# What is the same in every model of a family stands in nn/; token files name text encoders too, as
# other programs do.
FAMILY = re.compile(r'"(clip_[a-z]|sd15|sd21|sdxl)"|Stable Diffusion (1|2|XL)|SDXL')
NAMES_ENCODERS = re.compile(
    r"nn/.*|words/token_(keys|file)\.(h|cpp)|reports/token_convert\.(h|cpp)|cli/token_command\.cpp"
)
COMMENT = re.compile(r"//[^\n]*")
# A figure that was measured names the model that it was measured on.
MEASURED = "\"Stable Diffusion 1.5's size"


def test_families_are_named_in_their_own_room_alone(root: Path) -> None:
    native = root / "native"
    found = []
    for path in sorted(native.glob("*/*")):
        name = path.relative_to(native).as_posix()
        if path.suffix not in SOURCES or NAMES_ENCODERS.fullmatch(name):
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            code = COMMENT.sub("", line)
            if FAMILY.search(code) and MEASURED not in code:
                found.append(f"{name}:{number}: {line.strip()}")
    assert found == [], "\n".join(found)


def sources(root: Path) -> dict[str, str]:
    """{path below native/: text}"""
    native = root / "native"
    return {
        path.relative_to(native).as_posix(): path.read_text(encoding="utf-8")
        for path in native.rglob("*")
        if path.suffix in SOURCES
    }


def test_sources_follow_the_arrows(root: Path) -> None:
    files = sources(root)
    assert {path.split("/")[0] for path in files} >= {"core", "cli", "python"}
    assert violations(files) == []


def test_no_file_includes_itself_by_way_of_others(root: Path) -> None:
    assert circles(as_units(sources(root))) == []


def test_a_circle_is_seen() -> None:
    files = {
        "nn/a.h": '#include "nn/b.h"\n',
        "nn/b.h": '#include "nn/c.h"\n#include "core/d.h"\n',
        "nn/c.h": '#include "nn/a.h"\n',
        "core/d.h": "#include <vector>\n",
        "train/run.h": "",
        "train/run.cpp": '#include "train/run.h"\n#include "train/personalize.h"\n',
        "train/personalize.h": '#include "train/run.h"\n',
        "nn/maker.h": "",
        "nn/maker.cpp": '#include "nn/maker.h"\n#include "nn/made.h"\n',
        "nn/made.h": '#include "nn/maker.h"\n',
    }
    assert circles(as_units(files)) == [
        ["nn/a.h", "nn/b.h", "nn/c.h"],
        ["train/personalize.h", "train/run.h"],
    ]


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("core/a.h", '#include "io/json.h"'),
        ("io/a.cpp", '#include "ops/layers.h"'),
        ("diffusion/a.cpp", '#  include   "nn/family.h"'),
        ("nn/a.cpp", "#include <train/loop.h>"),
        ("zo/a.cpp", '#include "io/json.h"'),
        ("zo/a.cpp", '#include "nn/unet.h"'),
        ("train/a.cpp", '#include "cli/program.h"'),
        ("objective/a.cpp", '#include "ranks/ranks.h"'),
        ("ranks/a.cpp", '#include "train/trainer.h"'),
        ("train/a.cpp", '#include "jobs/queue.h"'),
        ("server/a.cpp", '#include "train/loop.h"'),
        ("server/a.cpp", '#include "service/service.h"'),
        ("train/a.cpp", '#include "service/service.h"'),
        ("cli/program/a.cpp", '#include "python/bindings.h"'),
        ("core/a.cpp", "#include <ATen/ATen.h>"),
        ("io/deep/a.cpp", "#include <c10/util/Exception.h>"),
        ("jobs/a.cpp", "#include <torch/torch.h>"),
        ("ops/a.cpp", '#include "types.h"'),
        ("ops/a.cpp", '#include "../core/error.h"'),
        ("attic/a.cpp", ""),
    ],
)
def test_a_back_arrow_is_seen(path: str, line: str) -> None:
    assert len(violations({path: f"#pragma once\n#include <vector>\n{line}\n"})) == 1


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("train/a.cpp", '#include "core/error.h"'),
        ("train/a.cpp", '#include "zo/adam.h"'),
        ("cli/program/a.cpp", '#include "cli/progress.h"'),
        ("python/a.cpp", '#include "server/routes.h"'),
        ("zo/a.cpp", "#include <ATen/core/Tensor.h>"),
        ("io/a.cpp", "#include <png.h>"),
        ("io/a.cpp", '// once: #include "nn/unet.h"'),
    ],
)
def test_an_arrow_to_the_left_is_fine(path: str, line: str) -> None:
    assert violations({path: f"#pragma once\n{line}\n"}) == []


def test_the_architecture_page_names_files_that_are_there(root: Path) -> None:
    """Names in it are below native/ or the checkout; with a star, or without the ending that a
    header and its source share."""
    text = (root / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w*]+/[\w*./]+)`", text))
    assert len(named) > 20
    missing = [
        name
        for name in sorted(named)
        if not any(
            list(base.glob(f"{name}{end}"))
            for base in (root, root / "native")
            for end in ("", ".h")
        )
    ]
    assert missing == []
