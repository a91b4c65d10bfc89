"""HTTP as bytes: requests that no library would send, and what comes back."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TIMEOUT_S = 8  # less than the ten seconds after which the server itself gives up a request


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class _Bytes(io.BytesIO):
    """Bytes that stand in for a socket, and survive the response that was read from them."""

    def makefile(self, *_: object) -> _Bytes:
        return self

    def close(self) -> None:
        pass


def _read(source: Any, method: str) -> Reply:
    response = http.client.HTTPResponse(source, method=method)
    response.begin()
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Reply(response.status, headers, response.read())


class Wire:
    """Connections to a server on this port. Every answer is kept in `replies`."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.replies: list[Reply] = []

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT_S)

    def head(self, method: str, path: str, *lines: str, host: str | None = None) -> bytes:
        host = f"127.0.0.1:{self.port}" if host is None else host
        text = "\r\n".join([f"{method} {path} HTTP/1.1", f"Host: {host}", *lines, "", ""])
        return text.encode("latin-1")

    def read(self, connection: socket.socket, method: str = "GET") -> Reply:
        reply = _read(connection, method)
        self.replies.append(reply)
        return reply

    def send(self, data: bytes, method: str = "GET", closes: bool = False) -> Reply:
        """The answer to these bytes; `closes` tells that the connection must end with it."""
        with self.connect() as connection:
            # What is refused early is not read to its end.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(data)
            reply = self.read(connection, method)
            if closes:
                assert has_closed(connection), "the connection is open after a malformed request"
            return reply

    def ask(self, method: str, path: str, *lines: str, body: bytes = b"", **head: str) -> Reply:
        length = [f"Content-Length: {len(body)}"] if body or method == "POST" else []
        lines = (*lines, *length, "Connection: close")
        return self.send(self.head(method, path, *lines, **head) + body, method)

    def post(self, body: bytes | Mapping[str, Any], kind: str = "application/json") -> Reply:
        whole = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.ask("POST", "/v1/jobs", f"Content-Type: {kind}", body=whole)

    def all(self, data: bytes, finish: bool = False, method: str = "GET") -> list[Reply]:
        """Every answer until the server closes; `finish` closes this side after the bytes."""
        whole = b""
        with self.connect() as connection, contextlib.suppress(ConnectionError):
            connection.sendall(data)
            if finish:
                connection.shutdown(socket.SHUT_WR)
            while more := connection.recv(65536):
                whole += more
        replies, rest = [], _Bytes(whole)
        while rest.tell() < len(whole):
            replies.append(_read(rest, method))
        self.replies += replies
        return replies


def has_closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False


def part(disposition: str, content: bytes, *lines: str) -> bytes:
    """A part of a form, without its boundary."""
    head = "\r\n".join([f"Content-Disposition: form-data; {disposition}", *lines, "", ""])
    return head.encode("utf-8", "surrogateescape") + content


def form(*parts: bytes, boundary: str = "b") -> bytes:
    mark = f"--{boundary}".encode()
    return b"".join(mark + b"\r\n" + one + b"\r\n" for one in parts) + mark + b"--\r\n"
