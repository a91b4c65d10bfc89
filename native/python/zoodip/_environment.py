"""Which Python and which torch this is, found without importing torch.

The build (install.py and CMake) and the loader take these facts from here alone, so that they
cannot disagree. Standard library only; run as a script it prints the facts as JSON.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import sys
import sysconfig
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Environment:
    """A Python interpreter and the torch that it would import."""

    python: str  # "3.11"
    python_executable: str
    python_include: str  # the folder that holds Python.h where the headers are installed
    site_packages: str
    torch: str  # "2.11.0+cu130"; empty where there is no torch
    cuda: str  # "13.0", or "none" for a torch without CUDA
    torch_dir: str  # the package's folder; empty where there is no torch

    @property
    def tag(self) -> str:
        """Name of the folder that holds what is built for this environment."""
        name = f"cp{self.python.replace('.', '')}-torch{self.torch}-cuda{self.cuda}"
        return re.sub(r"[^A-Za-z0-9._-]", "-", name)


def read_torch_version(torch_dir: Path) -> tuple[str, str]:
    """Version and CUDA version ("none" without CUDA) written in torch's version.py."""
    values = {}
    tree = ast.parse((torch_dir / "version.py").read_text(encoding="utf-8"))
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        value = getattr(node, "value", None)
        if isinstance(targets[0], ast.Name) and isinstance(value, ast.Constant):
            values[targets[0].id] = value.value
    return str(values.get("__version__") or ""), str(values.get("cuda") or "none")


def describe(isolated: bool = False) -> Environment:
    """The facts of the interpreter that runs this.

    isolated: pip keeps a build from importing what lies in the environment that it builds for; its
    folder is known all the same, and torch is taken from there.
    """
    torch, cuda, torch_dir = "", "none", ""
    paths = sysconfig.get_paths()
    spec = importlib.util.find_spec("torch")
    places = [Path(spec.origin).parent] if spec is not None and spec.origin else []
    places += [Path(paths["purelib"]) / "torch"] if isolated else []
    if found := next((place for place in places if (place / "version.py").is_file()), None):
        torch_dir = found.as_posix()
        torch, cuda = read_torch_version(found)
    return Environment(
        python=f"{sys.version_info.major}.{sys.version_info.minor}",
        python_executable=Path(sys.executable).as_posix(),
        python_include=paths["include"],
        site_packages=paths["purelib"],
        torch=torch,
        cuda=cuda,
        torch_dir=torch_dir,
    )


if __name__ == "__main__":
    found = describe(isolated="--isolated" in sys.argv)
    print(json.dumps(asdict(found) | {"tag": found.tag if found.torch else ""}))
