"""Bodies that are no form and no JSON, and words that would be more than words."""

from __future__ import annotations

import json

import pytest
from server import FOLDER, JOB_S, MODEL
from sound import WORKS, picture, texts
from wire import form, part

FORMS = {
    "nothing": b"",
    "no_boundary_in_it": b"just text",
    "only_its_end": b"--b--\r\n",
    "no_end": form(*texts())[: -len(b"--b--\r\n")],
    "cut_in_the_end": form(*texts())[:-4],
    "cut_in_a_part": form(*texts(), picture(b"x" * 100))[:-60],
    "no_blank_line": b'--b\r\nContent-Disposition: form-data; name="model"\r\n--b--\r\n',
    "no_head": b"--b\r\n\r\ntext\r\n--b--\r\n",
    "no_name": form(*texts(), part('filename="a.png"', b"x")),
    "empty_name": form(*texts(), part('name=""', b"x")),
    "no_disposition": b"--b\r\nContent-Type: text/plain\r\n\r\nx\r\n--b--\r\n",
    "attachment": form(b'Content-Disposition: attachment; name="model"\r\n\r\nx'),
    "unclosed_quote": form(*texts(), part('name="pictures', b"x")),
    "head_of_100_kB": form(*texts(), part('name="pictures"', b"x", "X-Long: " + "x" * 100_000)),
    "name_of_100_kB": form(*texts(), part(f'name="{"x" * 100_000}"', b"x")),
    "file_name_of_100_kB": form(*texts(), picture(b"x", "x" * 100_000)),
    "head_of_many_lines": form(part('name="model"', b"x", *[f"X-{i}: x" for i in range(5000)])),
    "head_without_end": b"--b\r\n" + b"x" * 200_000,
    "bare_line_feeds": form(*texts(), picture(b"x")).replace(b"\r\n", b"\n"),
    "nul_in_a_head": form(*texts(), part('name="pictures\0"', b"x")),
    "twice_the_same": form(*texts(), *texts(), picture(b"x")),
    "unknown_field": form(*texts(), part('name="other"', b"x"), picture(b"x")),
    "images_named": form(*texts(), part('name="images"', FOLDER.encode())),
    "boundary_doubled": b"--b--b\r\n" + form(*texts()),
    "word_not_utf8": form(
        *texts()[:1], part('name="word"', b"\xff\xfe"), *texts()[2:], picture(b"x")
    ),
    "settings_not_json": form(*texts(settings="{"), picture(b"x")),
    "settings_a_list": form(*texts(settings="[]"), picture(b"x")),
    "settings_deep": form(*texts(settings="[" * 100_000), picture(b"x")),
    "packed_part": form(
        *texts(), part('name="pictures"', b"eA==", "Content-Transfer-Encoding: base64")
    ),
    "a_file_as_text": form(
        *texts()[1:], part('name="model"; filename="m"', MODEL.encode()), picture(b"x")
    ),
    "text_as_a_file": form(*texts(), part('name="pictures"', b"x")),
    "parts_without_end": b"--b\r\n\r\n\r\n" * 100_000 + b"--b--\r\n",
}


@pytest.mark.parametrize("name", FORMS)
def test_malformed_forms_are_refused(wire, client, name):
    reply = wire.post(FORMS[name], "multipart/form-data; boundary=b")
    assert reply.status in (400, 413, 415, 422), reply
    assert reply.headers["content-type"] == "application/problem+json"
    assert len(reply.body) < 4096  # what was sent does not come back at length
    assert client.jobs() == []


@pytest.mark.parametrize(
    "kind",
    [
        "multipart/form-data",
        "multipart/form-data;",
        "multipart/form-data; boundary",
        "multipart/form-data; boundary=",
        'multipart/form-data; boundary=""',
        'multipart/form-data; boundary="b',
        "multipart/form-data; boundary=" + "b" * 71,
        "multipart/form-data; boundary=" + "b" * 7000,
        "multipart/form-data; boundary=a; boundary=b",
        "multipart/form-data; boundary=b\xff",
        "multipart/form-data; boundary=other",
        "multipart/form-data; notboundary=b",
    ],
    ids=lambda kind: kind[:60],
)
def test_a_boundary_that_is_none_is_refused(wire, client, kind):
    reply = wire.post(form(*texts(), picture(b"x")), kind)
    assert reply.status in (400, 415), reply
    assert client.jobs() == []


def test_a_quoted_boundary_is_taken(wire, material):
    body = form(*texts(), picture(material.pictures()[0].read_bytes()), boundary="b :'()+_,-./=?c")
    assert wire.post(body, 'multipart/form-data; boundary="b :\'()+_,-./=?c"').status == 202


@pytest.mark.parametrize(
    "name",
    [
        "../../../escaped.png",
        "/escaped.png",
        "..\\escaped.png",
        "a%0D%0AX-Evil: 1.png",
        "a\tb.png",
        ".hidden.png",
        "a.png/",
        "caption.txt",
        "word.state.safetensors",
        "CON.png",
        "x" * 4000 + ".png",
        "\udcff\udcfe.png",
        "",
    ],
    ids=lambda name: ascii(name[:30]),
)
def test_a_file_s_name_does_not_decide_where_it_is_written(wire, client, server, material, name):
    before = {path for path in server.jobs.parent.iterdir()}
    reply = wire.post(
        form(*texts(), picture(material.pictures()[0].read_bytes(), name)),
        "multipart/form-data; boundary=b",
    )
    assert reply.status in (202, 400, 413, 422), reply
    assert "x-evil" not in reply.headers
    if reply.status == 202:
        assert client.wait(reply.json["id"], JOB_S).state == "finished"
    assert not [path for path in server.jobs.parent.rglob("*escaped*") if path.is_file()]
    assert {path for path in server.jobs.parent.iterdir()} == before
    written = [path for path in server.jobs.rglob("*") if path.name in (name, "caption.txt")]
    assert written == []


TEXTS = {
    "nothing": b"",
    "space": b"  ",
    "half": b'{"model": ',
    "list": b"[]",
    "number": b"1",
    "null": b"null",
    "two": b"{}{}",
    "comma": json.dumps(WORKS).encode()[:-1] + b",}",
    "comment": b"/* */" + json.dumps(WORKS).encode(),
    "nan": json.dumps(WORKS).encode().replace(b"12", b"NaN"),
    "infinity": json.dumps(WORKS).encode().replace(b"12", b"1e999"),
    "single_quotes": b"{'model': 'x'}",
    "not_utf8": json.dumps(WORKS).encode().replace(b"sks", b"sk\xff"),
    "overlong": json.dumps(WORKS).encode().replace(b"sks", b"sk\xc0\xaf"),
    "surrogate_bytes": json.dumps(WORKS).encode().replace(b"sks", b"sk\xed\xa0\x80"),
    "lone_surrogate": json.dumps(WORKS).encode().replace(b"sks", b"sk\\ud800"),
    "utf16": json.dumps(WORKS).encode("utf-16"),
    "nul": json.dumps(WORKS).encode() + b"\0",
    "nul_and_more": json.dumps(WORKS).encode() + b"\0{}",
    "control": json.dumps(WORKS).encode().replace(b"sks", b"s\nks"),
    "deep_lists": b"[" * 100_000,
    "deep_and_whole": b"[" * 100_000 + b"]" * 100_000,
    "deep_objects": b'{"a":' * 100_000,
    "deep_within": json.dumps(WORKS).encode()[:-1] + b', "a": ' + b"[" * 100 + b"]" * 100 + b"}",
    "many_members": json.dumps({str(i): i for i in range(60_000)}).encode(),
    "long_number": json.dumps(WORKS).encode().replace(b"12", b"1" * 500_000),
}


@pytest.mark.parametrize("name", TEXTS)
def test_what_is_no_job_in_json_is_refused(wire, client, name):
    reply = wire.post(TEXTS[name])
    assert reply.status in (400, 422), reply
    if name in (
        "nothing",
        "half",
        "two",
        "not_utf8",
        "deep_lists",
        "deep_and_whole",
        "deep_objects",
    ):
        assert reply.status == 400
    assert reply.headers["content-type"] == "application/problem+json"
    assert len(reply.body) < 4096
    assert client.jobs() == []


@pytest.mark.parametrize(
    "word",
    [
        "sks\r\nX-Evil: 1",
        "sks\nX-Evil: 1",
        'sks"; filename="evil.exe',
        "sks\\",
        "../../sks",
        "sks/sks",
        "sks\0",
        "sks\u2028",
        "caf\u00e9",
        "\U0001f436",
        "\u202egnp.sks",
        "-rf",
        "x" * 300,
        "x" * 100_000,
        ".",
        "..",
    ],
    ids=lambda word: ascii(word[:20]),
)
def test_a_word_adds_no_header_and_names_no_other_place(wire, client, server, word):
    before = {path for path in server.jobs.parent.iterdir()}
    reply = wire.post(WORKS | {"word": word})
    assert reply.status in (202, 400, 422), reply
    assert "x-evil" not in reply.headers
    if reply.status == 202:
        job = client.wait(reply.json["id"], JOB_S)
        assert job.state in ("finished", "failed") and job.word == word
        if job.token:
            told = wire.ask("GET", f"/v1/jobs/{job.id}/token")
            assert told.status == 200 and "x-evil" not in told.headers
            disposition = told.headers["content-disposition"]
            assert disposition.count("filename=") == 1 and "/" not in disposition.split(";")[1]
            assert disposition.isascii() and disposition.isprintable()
    assert {path for path in server.jobs.parent.iterdir()} == before


@pytest.mark.parametrize(
    "path", ["/v1/jobs/%0d%0aX-Evil:%201", "/v1/none?a=%0d%0aX-Evil:%201", "/%0d%0aX-Evil:%201"]
)
def test_an_address_adds_no_header(wire, path):
    reply = wire.ask("GET", path)
    assert reply.status == 404 and "x-evil" not in reply.headers
    assert b"\nX-Evil" not in reply.body
