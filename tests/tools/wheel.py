"""A wheel as pip builds it, installed in a fresh environment, and a training with it.

    python tests/tools/wheel.py [--folder FOLDER]

The environment gets the torch of the Python that runs this, from pip, and nothing of the checkout.
It takes 6 GB of disk and, beside the download, as long as compiling takes.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "native" / "python"), str(ROOT)]

from zoodip._environment import describe  # noqa: E402

from demo.model_file import unpack  # noqa: E402


def call(*words: object, cwd: Path | None = None) -> None:
    print("$", *words, flush=True)
    # Nothing but what was installed: neither the checkout nor the caller's packages.
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    subprocess.run(list(map(str, words)), cwd=cwd, env=clean, check=True)


def prove(folder: Path) -> None:
    environment = folder / "environment"
    venv.create(environment, with_pip=True)
    python, program = environment / "bin" / "python", environment / "bin" / "zoodip"
    call(python, "-m", "pip", "install", "-q", f"torch=={describe().torch.split('+')[0]}")
    call(python, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder / "wheels", ROOT)
    call(python, "-m", "pip", "install", "-q", *(folder / "wheels").glob("zoodip-*.whl"))
    unpack()
    model, pictures = ROOT / "demo/model/zoodip-demo.safetensors", ROOT / "demo/subjects"
    word = folder / "word.safetensors"
    call(program, "--version", cwd=folder)
    options = ["--word", "sks", "--init", "dog", "--steps", 50, "--out", word]
    images = pictures / "blue_spotted_dog"
    call(program, "train", "--model", model, "--images", images, *options, cwd=folder)
    text = f"import zoodip; print(zoodip.__file__, zoodip.token_info({str(word)!r})['word'])"
    call(python, "-c", text, cwd=folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="where it all goes, and stays")
    folder = parser.parse_args().folder
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        prove(folder.resolve())
        return
    with tempfile.TemporaryDirectory() as temporary:
        prove(Path(temporary))


if __name__ == "__main__":
    main()
