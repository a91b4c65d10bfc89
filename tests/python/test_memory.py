"""The memory that is foretold against the peak that is measured, and what is done where it is
short."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import zoodip
import zoodip.graph

from demo.model_file import unpack

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="the peak of a process is read as Linux tells it"
)

MB = 1_000_000


@pytest.fixture(scope="module")
def demo_model() -> Path:
    return unpack()


@pytest.fixture(scope="module")
def picture(tmp_path_factory, root: Path) -> Path:
    """A folder with one picture of the demo's world."""
    folder = tmp_path_factory.mktemp("picture")
    for name in ("00.png", "00.txt"):
        source = root / "demo/subjects/blue_spotted_dog" / name
        (folder / name).write_bytes(source.read_bytes())
    return folder


def peak_of(words: list[str]) -> int:
    """Bytes that a process had at its peak."""
    watch = (
        "import os, resource, subprocess, sys\n"
        "done = subprocess.run(sys.argv[1:], stderr=subprocess.DEVNULL)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)\n"
        "sys.exit(done.returncode)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", watch, *words], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.parametrize(
    "settings",
    [
        "",
        "--resolution 256 --n 24",
        "--resolution 256 --n 24 --chunk 5",
        "--resolution 256 --method exact",
        "--weights dense",
        "--weights int4",
    ],
)
def test_estimate_is_within_15_percent_of_the_peak(
    settings: str, demo_model: Path, picture: Path, module_folder: Path, tmp_path: Path
) -> None:
    program, chosen = str(module_folder / "zoodip"), settings.split()
    report = subprocess.run(
        [program, "inspect", str(demo_model), "--json", *chosen], capture_output=True, check=True
    )
    expected = json.loads(report.stdout)["memory"]["peak"]
    words = [program, "train", "--model", str(demo_model), "--images", str(picture)]
    words += ["--word", "sks", "--init", "dog", "--out", str(tmp_path / "sks.safetensors")]
    measured = peak_of([*words, "--steps", "1", "--threads", "1", *chosen])
    assert expected == pytest.approx(measured, rel=0.15), f"{measured / MB:.0f} MB measured"


def test_short_memory_makes_chunks_then_refuses_by_part(demo_model: Path) -> None:
    def resolved(limit: int) -> int:
        settings = {"resolution": 512, "n": 64, "memory_limit": limit}
        return zoodip.graph.resolve(demo_model, settings)["chunk"]

    assert resolved(10_000) == 0
    chunks = [resolved(limit) for limit in (457, 417, 377)]
    assert 65 > chunks[0] > chunks[1] > chunks[2] >= 1
    with pytest.raises(
        zoodip.Error, match=r"needs about \d+ MB \(program \d+, UNet .* 20 MB are allowed"
    ):
        resolved(20)


def test_auto_takes_the_exact_gradient_where_it_fits(demo_model: Path) -> None:
    def method(limit: int) -> dict:
        settings = {"method": "auto", "resolution": 256, "memory_limit": limit}
        return zoodip.graph.resolve(demo_model, settings, fit=False)

    roomy, tight = method(10_000), method(40)
    assert (roomy["method"], roomy["steps"], roomy["learning_rate"]) == ("exact", 500, 0)
    assert (tight["method"], tight["steps"], tight["learning_rate"]) == ("rge", 30000, 0.005)
