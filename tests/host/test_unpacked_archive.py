"""What the registry hands out works in ComfyUI: nodes, templates, and a training of the demo."""

import json

import archive
import pytest
import templates
from comfy import PACKAGE, REPOSITORY
from graphs import NODES, succeeded, training

pytestmark = pytest.mark.skipif(not archive.is_checkout(), reason="no git checkout to pack")


def test_comfyui_runs_the_archive(starts, tmp_path, monkeypatch):
    package = archive.unpack(tmp_path / "package")
    # What install.py would have built from these sources.
    (package / "modules").symlink_to(REPOSITORY / "modules", target_is_directory=True)
    monkeypatch.setenv("ZOODIP_PACKAGE", str(package))
    comfy = starts(tmp_path / "base")
    nodes = comfy.get("/object_info")
    own = {k for k, v in nodes.items() if v["python_module"] == f"custom_nodes.{PACKAGE}"}
    assert own == set(json.loads(NODES.read_text()))
    assert comfy.get("/workflow_templates")[PACKAGE] == templates.NAMES
    assert succeeded(comfy, training(2)).text("9").startswith("word: zwx\n")
