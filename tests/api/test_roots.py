"""Names and addresses that would lead out of the server's folders."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from server import FOLDER, JOB_S, train
from sound import WORKS


@pytest.fixture
def outside(material):
    """What lies beside the roots and must not be reached by any name."""
    shutil.copy(material.model, material.models.parent / "secret.safetensors")
    shutil.copytree(material.images / FOLDER, material.images.parent / "private")
    yield material.models.parent
    (material.models.parent / "secret.safetensors").unlink()
    shutil.rmtree(material.images.parent / "private")


@pytest.fixture
def links(material, outside):
    """What the folders' owner has linked into them."""
    made = {
        material.models / "link.safetensors": outside / "secret.safetensors",
        material.models / "broken.safetensors": outside / "nothing.safetensors",
        material.images / "link": outside / "private",
    }
    for link, target in made.items():
        link.symlink_to(target)
    yield
    for link in made:
        link.unlink()


def test_links_in_the_roots_are_listed_and_followed(client, links):
    assert "link.safetensors" in client.models()
    assert "broken.safetensors" not in client.models()
    job = client.train(
        "link.safetensors", "link", WORKS["word"], WORKS["init"], **WORKS["settings"]
    )
    assert client.wait(job.id, JOB_S).state == "finished"


def escapes(name: str, root: Path) -> list[str]:
    return [
        f"../{name}",
        f"sub/../../{name}",
        f"./../{name}",
        f"..\\{name}",
        f"%2e%2e/{name}",
        f"..%2f{name}",
        f"%252e%252e/{name}",
        f"..;/{name}",
        f"....//{name}",
        f".. /{name}",
        f"\u2025/{name}",
        f"/{name}",
        f"{root}/{name}",
        f"//{root}/{name}",
        f"file://{root}/{name}",
        f"~/{name}",
        f"{name}\0",
        f"../{name}\0.safetensors",
        "..",
        ".",
        "/",
        "",
        " ",
        "\0",
        "/dev/zero",
        "/proc/self/environ",
        "x" * 5000,
        "a/" * 2000,
    ]


@pytest.mark.parametrize(
    ("member", "name"), [("model", "secret.safetensors"), ("images", "private")]
)
def test_names_do_not_lead_out_of_the_roots(wire, client, outside, member, name):
    for wrong in escapes(name, outside):
        reply = wire.post(WORKS | {member: wrong})
        assert reply.status in (404, 422), (wrong, reply)
        assert str(outside).encode() not in reply.body.replace(wrong.encode(), b""), reply
    assert client.jobs() == []
    assert not [model for model in client.models() if "secret" in model]


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd",
        "/v1/../../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/v1/jobs/..",
        "/v1/jobs/../health",
        "/v1/jobs/%2e%2e/health",
        "/v1/jobs/..%2fhealth",
        "/v1/jobs/ID/../ID",
        "/v1/jobs/ID/previews/../token",
        "/v1/jobs/ID/previews/%2e%2e%2ftoken",
        "/v1/jobs/ID/previews/..%5ctoken",
        "/v1/jobs/ID/token/../../../../etc/passwd",
        "/v1/jobs/ID%00/token",
        "/v1/jobs/ID/token%00.png",
        "/v1/jobs/%2f%65%74%63",
        "//v1/health",
        "/v1//health",
        "/v1/health%",
        "/v1/health%zz",
        "/v1/%68ealth%2f..",
        "/V1/HEALTH",
        "\\v1\\health",
        "/v1/jobs/\xff\xfe",
        "/v1/jobs/%ff%fe",
        "http://evil.example/v1/health",
        "evil.example:80",
        "*",
        "v1/health",
    ],
)
def test_addresses_do_not_lead_anywhere_else(wire, client, path):
    job = client.wait(train(client).id, JOB_S)
    reply = wire.ask("GET", path.replace("ID", job.id))
    assert 400 <= reply.status < 500, reply
    assert b"root:" not in reply.body and b"clip_l" not in reply.body
