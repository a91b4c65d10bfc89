"""This package and ComfyUI in one process without a server. Imported first by what runs here."""

import importlib
import importlib.util
import os
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
PACKAGE = Path(os.environ.get("ZOODIP_PACKAGE") or REPOSITORY).resolve()
BASE = tempfile.mkdtemp(prefix="zoodip-host-")

sys.argv = [sys.argv[0], "--cpu", "--base-directory", BASE]
sys.path.insert(0, os.environ["COMFYUI_DIR"])
os.chdir(os.environ["COMFYUI_DIR"])

import comfy.options  # noqa: E402

comfy.options.enable_args_parsing()

import torch  # noqa: E402

torch.set_num_threads(1)


def load_package() -> None:
    """As `comfyui_zoodip`; nothing of it is imported yet."""
    spec = importlib.util.spec_from_file_location(
        "comfyui_zoodip",
        PACKAGE / "__init__.py",
        submodule_search_locations=[str(PACKAGE)],
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules["comfyui_zoodip"] = module
    spec.loader.exec_module(module)


load_package()
# As the host's own start: importing its nodes puts another module of this name first.
importlib.import_module("utils.install_util")
importlib.import_module("nodes")
