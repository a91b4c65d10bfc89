"""What tests of the program share: a quick training's arguments, and what a refusal looks like."""

from __future__ import annotations

import subprocess
from pathlib import Path

QUICK = {"steps": 12, "resolution": 64, "tau": 4, "checkpoint_every": 5}


def arguments(model: Path, images: Path, out: Path, **chosen) -> list[str]:
    words = ["train", "--model", model, "--images", images, "--word", chosen.pop("word", "sks")]
    words += ["--init", chosen.pop("init", "dog"), "--out", out]
    for flag in ("resume", "overwrite"):
        words += [f"--{flag}"] if chosen.pop(flag, False) else []
    for name, value in (QUICK | chosen).items():
        words += [f"--{name.replace('_', '-')}", value]
    return [str(word) for word in words]


def refuses(result: subprocess.CompletedProcess, *parts: str, folder: Path | None = None) -> None:
    assert result.returncode in (1, 2), result.stderr
    errors = [line for line in result.stderr.splitlines() if "error:" in line]
    assert len(errors) == 1, result.stderr
    for part in parts:
        assert part in errors[0], result.stderr
    if folder is not None:
        assert list(folder.iterdir()) == []
