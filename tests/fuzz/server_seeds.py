"""The seeds of the targets that read what clients of the server send."""

from __future__ import annotations

import json
from collections.abc import Iterator

Seeds = Iterator[tuple[str, bytes]]

# --- requests ---------------------------------------------------------------------------------


def head(*lines: str, request: str = "GET /v1/jobs HTTP/1.1") -> bytes:
    host = "Host: localhost:8642"
    return "\r\n".join([request, host, *lines, "", ""]).encode("latin-1")


def http_head_seeds() -> Seeds:
    yield "get", head("Accept: */*", "Connection: keep-alive")
    yield "head", head("Connection: close", request="HEAD /v1/health?x=1 HTTP/1.1")
    post = "POST /v1/jobs HTTP/1.1"
    yield "post", head("Content-Type: application/json", "Content-Length: 2", request=post) + b"{}"
    yield "expect", head("Content-Length: 9", "Expect: 100-continue", request=post)
    yield "events", head("Last-Event-ID: 7", request="GET /v1/jobs/0/events HTTP/1.1")
    yield "page", head("Origin: http://localhost:8642", "Sec-Fetch-Site: same-origin")
    yield "token", head("Authorization: Bearer token")
    yield "upgrade", head("Upgrade: h2c", "Connection: Upgrade")
    yield "pipelined", head() + head()
    yield "chunked", head("Transfer-Encoding: chunked", request=post) + b"0\r\n\r\n"
    yield "both-lengths", head("Content-Length: 5", "Transfer-Encoding: chunked", request=post)
    yield "two-lengths", head("Content-Length: 1", "Content-Length: 2", request=post)
    yield "huge-length", head("Content-Length: 18446744073709551616", request=post)
    yield "encoded", head("Content-Encoding: gzip", request=post)
    yield "two-hosts", head("Host: evil.example")
    yield "no-host", b"GET / HTTP/1.1\r\n\r\n"
    yield "space-before-colon", head("X : 1")
    yield "folded", head("X: 1", " 2")
    yield "bare-lf", head().replace(b"\r\n", b"\n")
    yield "bare-cr", head("X: 1\r2")
    yield "nul", head("X: \0")
    yield "latin", head("X: caf\u00e9")
    yield "absolute", head(request="GET http://localhost/ HTTP/1.1")
    yield "http-1.0", head(request="GET / HTTP/1.0")
    yield "http-2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    yield "unknown-method", head(request="BREW / HTTP/1.1")
    yield "many-headers", head(*(f"X{i}: 1" for i in range(70)))
    yield "most-headers", head("A: 1", "B: 1", "C: 1")  # of the small limits
    yield "longest-line", head("X: " + "x" * 45)
    yield "long-target", head(request="GET /" + "x" * 8200 + " HTTP/1.1")
    yield "long-header", head("X: " + "x" * 8200)
    yield "long-head", head(*(f"X{i}: " + "x" * 6000 for i in range(3)))
    yield "cut-off", head()[:-3]
    yield "tls", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
    yield "empty", b""


def form(*fields: tuple[str, bytes], boundary: str = "b", more: str = "") -> bytes:
    body = b""
    for name, value in fields:
        line = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'
        body += line.encode() + value + b"\r\n"
    return body + f"--{boundary}--\r\n".encode()


def form_seeds() -> Seeds:
    kind = b"multipart/form-data; boundary=b\n"
    texts = [("model", b"m"), ("word", b"sks"), ("init", b"dog")]
    png, jpeg, webp = b"\x89PNG\r\n\x1a\n.", b"\xff\xd8\xff.", b"RIFF....WEBP."
    yield "one-picture", kind + form(*texts, ("pictures", jpeg))
    settings = ("settings", b'{"steps": 5}')
    yield "two-pictures", kind + form(("pictures", png), settings, *texts, ("pictures", webp))
    yield "three-pictures", kind + form(*texts, *[("pictures", png)] * 3)
    yield "large-picture", kind + form(*texts, ("pictures", png + bytes(30)))
    yield "no-picture", kind + form(*texts)
    yield "other-file", kind + form(*texts, ("pictures", b"GIF89a"))
    yield "file-name", kind + form(*texts, ("pictures", jpeg), more='; filename="a \\"b\\".jpg"')
    yield "unknown-field", kind + form(*texts, ("pictures", jpeg), ("images", b"x"))
    yield "field-twice", kind + form(*texts, *texts, ("pictures", jpeg))
    yield "settings-no-json", kind + form(*texts, ("settings", b"{"), ("pictures", jpeg))
    yield "not-utf8", kind + form(("model", b"\xff"), ("\u00e9", b"\xc3"))
    yield "many-parts", kind + form(*[("word", b"")] * 14)
    yield "quoted-boundary", b'multipart/form-data; boundary="a \'b"\n' + form(boundary="a 'b")
    yield "long-boundary", b"multipart/form-data; boundary=" + b"b" * 71 + b"\n"
    yield "no-boundary", b"multipart/form-data\n" + form(*texts)
    yield "boundary-within", kind + form(("word", b"\r\n--b2\r\n--"))
    yield "cut-off", kind + form(*texts)[:-5]
    yield "no-name", kind + b"--b\r\nContent-Type: text/plain\r\n\r\n1\r\n--b--"
    yield "bare-lf", kind + form(*texts).replace(b"\r\n", b"\n")
    job = {"model": "m", "images": "i", "word": "sks", "init": "dog", "settings": {"steps": 5}}
    values = {
        "job": job,
        "unknown": job | {"id": "x"},
        "missing": {"model": "m"},
        "types": job | {"word": ["sks"], "settings": "{}"},
        "long": job | {"word": "x" * 1001},
        "list": [1],
    }
    for name, value in values.items():
        yield f"{name}.json", b"application/json; charset=utf-8\n" + json.dumps(value).encode()
    yield "deep.json", b"application/json\n" + b"[" * 100
    yield "nul.json", b"application/json\n" + json.dumps(job).encode() + b"\0"
    yield "other-type", b"application/x-www-form-urlencoded\nmodel=m"
