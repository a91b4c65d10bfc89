"""No answer names a place on the server's disk: what went wrong has the names that clients know."""

from __future__ import annotations

import shutil

import pytest
from server import JOB_S, MODEL
from sound import WORKS


@pytest.fixture
def odd_material(material):
    """Models and folders that cannot be trained from, each in its way."""
    sound = material.pictures()[0]
    for name in ("no word", "odd text", "cut off"):
        (material.images / name).mkdir()
        shutil.copy(sound, material.images / name / "0.png")
    (material.images / "no word" / "0.txt").write_text("a dog")
    (material.images / "odd text" / "0.txt").write_bytes(b"a \xff\xfe\x00 sks")
    (material.images / "cut off" / "0.png").write_bytes(sound.read_bytes()[:-50])
    (material.images / "nothing").mkdir()
    (material.models / "broken.safetensors").write_bytes(material.model.read_bytes()[:5000])
    (material.models / "text.safetensors").write_text("no model")
    folders = [material.images / name for name in ("no word", "odd text", "cut off", "nothing")]
    models = [material.models / f"{name}.safetensors" for name in ("broken", "text")]
    yield material
    for folder in folders:
        shutil.rmtree(folder)
    for model in models:
        model.unlink()


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"images": "no word"}, "0.txt"),
        ({"images": "odd text"}, "0.txt"),
        ({"images": "cut off"}, "0.png"),
        ({"images": "nothing"}, "nothing"),
        ({"model": "broken.safetensors"}, "broken.safetensors"),
        ({"model": "text.safetensors"}, "text.safetensors"),
        ({"settings": {"steps": 1, "resolution": 64, "device": "cuda:7"}}, "device"),
    ],
    ids=str,
)
def test_what_went_wrong_is_named_as_the_client_knows_it(
    wire, client, server, odd_material, change, names
):
    reply = wire.post(WORKS | change)
    told = reply.body.decode()
    if reply.status == 202:
        job = client.wait(reply.json["id"], JOB_S)
        assert job.state == "failed", job
        told = job.message
        events = "".join(str(event.data) for event in client.events(job.id))
        assert not mentions(events, server, odd_material), events
    else:
        assert reply.status == 422, reply
    assert names in told
    assert not mentions(told, server, odd_material), told


def mentions(text: str, server, material) -> bool:
    places = (material.models, material.images, material.models.parent, server.jobs)
    return any(str(place) in text for place in places)


def test_a_job_s_own_pictures_have_no_place(wire, client, server, material):
    """Gone after they were taken: the message names the file below the job's folder."""
    first = wire.post(WORKS | {"settings": {"steps": 100_000, "resolution": 64}}).json["id"]
    second = client.train(MODEL, material.pictures(), "sks", "dog", steps=1, resolution=64)
    for file in (server.jobs / second.id / "pictures").iterdir():
        file.write_bytes(b"gone bad")
    client.cancel(first)
    job = client.wait(second.id, JOB_S)
    assert job.state == "failed" and not mentions(job.message, server, material), job
