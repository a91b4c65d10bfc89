"""What outlives a ComfyUI: ended by its user, killed, started again, and without an engine."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from comfy import PACKAGE, REPOSITORY, logged
from graphs import (
    job_with_curve,
    node,
    node_job,
    options,
    run,
    shown_state,
    states,
    succeeded,
    token_file,
    training,
)

STEPS = 200

# ComfyUI ends its own work in a second or two; the engine looks for the end before every UNet
# pass, and the package waits for it no longer than 10 s.
ENDS_WITHIN = 15
ABORTED = re.compile(
    r"terminate called|core dumped|Segmentation|Aborted|Fatal Python|Exception ignored|"
    r"std::|Traceback"
)


@pytest.fixture(scope="module")
def unbroken(shared_comfy):
    """The token file of a run that nothing disturbed."""
    ran = succeeded(shared_comfy, training(STEPS, "outliving"))
    return token_file(shared_comfy, ran.progress[-1]["id"]).read_bytes()


def begun(comfy, prompt: dict, step: int) -> str:
    """Queues a training and returns its key once so many steps are made."""
    with comfy.events() as events:
        comfy.queue(prompt, events.client_id, {"id": "workflow-1"})
        told = events.until(
            lambda m: (
                m["type"] == "zoodip.progress"
                and shown_state(m["data"]) == "training"
                and m["data"]["step"] >= step
            )
        )
    return told["data"]["id"]


def ended(comfy, how: int) -> tuple[int, float]:
    """The code of a process that is told to end, and how long it took."""
    told = time.monotonic()
    comfy.process.send_signal(how)
    try:
        code = comfy.process.wait(120)
    except subprocess.TimeoutExpired:
        pytest.fail("it does not end")
    return code, time.monotonic() - told


def test_a_restart_trains_nothing_again(starts, tmp_path):
    first = starts(tmp_path)
    learned = succeeded(first, training(8, "kept")).text("9")
    first.stop()
    second = starts(tmp_path)
    assert node_job(second, "workflow-1")["state"] == "finished"
    again = succeeded(second, training(8, "kept"))
    assert again.progress[-1]["state"] == "reused"
    assert again.text("9") == learned


@pytest.mark.parametrize("how", ["SIGINT", "SIGKILL"])
def test_a_run_goes_on_after_its_comfyui_ended(starts, tmp_path, unbroken, how):
    """At a checkpoint at the latest: every 20 steps here."""
    prompt = training(STEPS, "outliving", options=["4", 0])
    prompt["4"] = options(checkpoint_every=20)
    first = starts(tmp_path)
    mark = len(first.log)
    key = begun(first, prompt, 60)
    code, took = ended(first, getattr(signal, how))
    if how == "SIGINT":
        assert code == 0 and took < ENDS_WITHIN, f"code {code} after {took:.1f} s"
        assert not ABORTED.search(first.log[mark:])
    assert not list((tmp_path / "user" / "zoodip").rglob("*.partial"))

    second = starts(tmp_path)
    shown = node_job(second, "workflow-1")
    assert shown["id"] == key and shown["state"] in ("stopped", "interrupted")
    assert "queue" in shown["message"]
    again = succeeded(second, prompt)
    assert again.progress[-1]["id"] == key
    made = [p["step"] for p in again.progress if p["state"] == "training"]
    assert made[0] >= 40, "it began anew"
    assert token_file(second, key).read_bytes() == unbroken
    if how == "SIGINT":
        # The curve is whole: what was learned before is not forgotten by the page.
        assert len(job_with_curve(second, key)["points"]) == STEPS


def test_ended_while_another_prompt_waits(starts, tmp_path):
    """The one that waits must not begin while ComfyUI ends."""
    comfy = starts(tmp_path)
    mark = len(comfy.log)
    key = begun(comfy, training(STEPS, "first"), 10)
    comfy.queue(training(STEPS, "second"))
    code, took = ended(comfy, signal.SIGINT)
    assert code == 0 and took < ENDS_WITHIN
    assert not ABORTED.search(comfy.log[mark:])
    record = json.loads((token_file(comfy, key).parent / "job.json").read_text())
    assert record["progress"]["step"] >= 10


def test_one_line_at_start_up(shared_comfy):
    lines = [message for _, message in logged(shared_comfy.log) if "ZOODiP " in message]
    version = re.search(r'__version__ = "(.*?)"', _package_text()).group(1)
    assert len(lines) == 1, lines
    assert lines[0].startswith(f"ZOODiP {version}: engine for torch ")
    assert "device cpu" in lines[0] and re.search(r"AVX|DEFAULT|NEON|SVE", lines[0])


def _package_text() -> str:
    return (REPOSITORY / "native" / "python" / "zoodip" / "__init__.py").read_text()


# Without an engine


def package_copy(base, modules) -> None:
    """The package in a ComfyUI's custom_nodes, with what `modules(folder)` puts in the place of
    the built modules."""
    package = Path(os.environ.get("ZOODIP_PACKAGE") or REPOSITORY)
    copy = base / "custom_nodes" / PACKAGE
    copy.mkdir(parents=True)
    for name in ("__init__.py", "install.py"):
        shutil.copy(package / name, copy)
    for name in ("node", "web", "demo", "locales", "native/python", "native/pictures/data"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(package / name, copy / name, ignore=ignored)
    modules(copy / "modules")


def no_modules(folder):
    pass


def of_another_torch(folder):
    (built,) = list((REPOSITORY / "modules").glob("*/stamp.json"))[:1]
    folder /= "cp3-torch0.1-none"
    folder.mkdir(parents=True)
    stamp = json.loads(built.read_text()) | {"torch": "0.1.2+cpu"}
    (folder / "stamp.json").write_text(json.dumps(stamp))


@pytest.mark.parametrize(
    ("modules", "said"),
    [
        (no_modules, ["has not been built yet"]),
        (of_another_torch, ["torch 0.1.2+cpu", "but this is torch"]),
    ],
    ids=["missing", "of another torch"],
)
def test_without_an_engine_all_but_training_works(starts, tmp_path, shared_comfy, modules, said):
    package_copy(tmp_path, modules)
    learned = succeeded(
        shared_comfy,
        training(8, "carried")
        | {"10": node("SaveTokenZO", token=["3", 1], name="", if_exists="replace")},
    )
    saved = shared_comfy.base / "models" / "embeddings" / "carried.safetensors"
    embeddings = tmp_path / "models" / "embeddings"
    embeddings.mkdir(parents=True)
    shutil.copy(saved, embeddings)

    comfy = starts(tmp_path)
    nodes = {name for name in comfy.get("/object_info") if name.endswith("ZO")}
    assert nodes == {name for name in shared_comfy.get("/object_info") if name.endswith("ZO")}
    ran = run(comfy, training(8, "carried"))
    for part in [*said, "install.py", "run:"]:
        assert part in ran.message
    (line,) = [line for line in comfy.log.splitlines() if "ZOODiP " in line]
    assert said[0] in line and "no engine" in line

    found = succeeded(
        comfy,
        {
            "1": node("LoadDemoModelZO"),
            "2": node("LoadTokenZO", name="carried.safetensors", word=""),
            "3": node("ApplyTokenZO", clip=["1", 1], token=["2", 0]),
            "4": node("SaveTokenZO", token=["2", 0], name="again", if_exists="number"),
            "5": node("TokenInfoZO", token=["2", 0]),
            "6": states(["3", 0], "a carried dog"),
        },
    )
    assert found.text("5") == learned.text("9")
    named = {"1": node("LoadDemoModelZO"), "6": states(["1", 1], "a embedding:again dog")}
    assert found.text("6") == succeeded(comfy, named).text("6")
