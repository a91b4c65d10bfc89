"""What every client of ComfyUI is told of a training, by ComfyUI's own messages; and how long it
will take, also where the cores are not ours alone."""

import io
import json
import os
import subprocess
import sys

import pytest
from graphs import ENDED, followed, options, training
from PIL import Image

# comfy's protocol.BinaryEventTypes.
PREVIEW_IMAGE, PREVIEW_IMAGE_WITH_METADATA = 1, 4
JPEG = 1


def previewed(steps: int, word: str) -> dict:
    # One costs 20 rows of the UNet, a step three: a tenth of the time pays for it within 70 steps.
    prompt = training(steps, word, options=["4", 0])
    prompt["4"] = options(preview_percent=10.0)
    return prompt


def split(message: bytes) -> tuple[int, dict, Image.Image]:
    """Its kind, what is told of the picture, the picture."""
    kind, second = (int.from_bytes(message[i : i + 4], "big") for i in (0, 4))
    if kind == PREVIEW_IMAGE_WITH_METADATA:
        told, picture = json.loads(message[8 : 8 + second]), message[8 + second :]
    else:
        assert second == JPEG
        told, picture = {}, message[8:]
    image = Image.open(io.BytesIO(picture))
    image.load()
    return kind, told, image


@pytest.mark.parametrize("knows_metadata", [False, True])
def test_previews_reach_every_client_as_those_of_a_sampler_do(comfy, knows_metadata):
    prompt = previewed(300, f"previewed{int(knows_metadata)}")
    with comfy.events() as events:
        if knows_metadata:
            events.tell("feature_flags", {"supports_preview_metadata": True})
            events.until(lambda message: message["type"] == "feature_flags")
        ran = followed(comfy, events, comfy.queue(prompt, events.client_id))
        pictures = [split(message) for message in events.binary]
        bar = [m["data"] for m in events.seen if m["type"] == "progress"]
    assert ran.end == "success"
    # As many as the panel was told of.
    steps = [p["preview"]["step"] for p in ran.progress if p["preview"]]
    assert len(pictures) >= len(set(steps)) >= 1
    for kind, told, image in pictures:
        assert image.format == "JPEG" and image.size == (512, 512)  # as ComfyUI's --preview-size
        if knows_metadata:
            assert kind == PREVIEW_IMAGE_WITH_METADATA
            assert (told["node_id"], told["prompt_id"]) == ("3", ran.prompt_id)
        else:
            assert kind == PREVIEW_IMAGE
    assert all((one["node"], one["max"]) == ("3", 300) for one in bar)
    assert bar[-1]["value"] == 300


@pytest.fixture
def busy():
    """Another program on every core."""
    loops = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"])
        for _ in range(os.cpu_count() or 1)
    ]
    yield
    for loop in loops:
        loop.kill()
        loop.wait()


def test_the_time_is_told_before_the_first_step_where_others_have_the_cores(starts, tmp_path, busy):
    """By as many threads as torch takes, as on a user's machine."""
    server = starts(tmp_path, env={"OMP_NUM_THREADS": str(os.cpu_count())})
    with server.events() as events:
        ran = followed(server, events, server.queue(training(20, "timed"), events.client_id), None)
    assert ran.end == "success"
    known = next(payload for payload in ran.progress if payload["foretold"])
    assert known["step"] == 0 and known["state"] not in ENDED
    assert 0 < known["foretold"] < 3600
    assert "20 steps at" in server.log and "about" in server.log
