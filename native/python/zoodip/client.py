"""A client of `zoodip serve`: one file on the standard library alone, to be copied anywhere.

client = Client("http://127.0.0.1:8642")
job = client.train("sd15.safetensors", Path("pictures of my dog"), "sks", "dog", steps=5000)
for event in client.events(job.id):
    print(event.name, event.data)
client.save_token(job.id, "sks.safetensors")
"""

from __future__ import annotations

import contextlib
import http.client
import json
import mimetypes
import os
import secrets
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

StrPath = str | os.PathLike[str]
Setting = bool | int | float | str

ENDED = frozenset({"finished", "stopped", "interrupted", "cancelled", "failed"})
PICTURES = frozenset({".jpg", ".jpeg", ".png", ".webp"})


class ApiError(Exception):
    """The server's refusal, as it words it; `retry_after` are seconds, where it names them."""

    def __init__(self, status: int, title: str, detail: str, retry_after: float | None) -> None:
        super().__init__(f"{status} {title}: {detail}" if detail else f"{status} {title}")
        self.status = status
        self.title = title
        self.detail = detail
        self.retry_after = retry_after


@dataclass(frozen=True)
class Job:
    """A training as the server tells it."""

    id: str
    state: str  # queued, running, finished, stopped, interrupted, cancelled or failed
    origin: str
    created: str
    started: str | None
    ended: str | None
    model: str
    images: str | None  # the folder's name; None for pictures that were sent
    word: str
    init: str
    settings: Mapping[str, Setting]
    device: str  # trainings of one device wait for each other
    stage: str
    step: int
    steps: int  # 0 until it is known
    loss: float | None
    smooth_loss: float | None
    message: str
    position: int | None  # jobs before this one in the queue; None when it has left it
    token: bool  # whether there is a word to fetch
    # What an older server does not tell is None.
    passes: int | None = None  # of the UNet, made by the steps
    best_step: int | None = None  # of the lowest validation loss
    compute: str | None = None  # what products are made in
    compute_choice: str | None = None  # why, where that was chosen
    speed: float | None = None  # steps a second, while it runs
    seconds_left: float | None = None
    foretold: float | None = None  # seconds of the whole, told before its first step
    reused: bool | None = None  # a graph asked for it again
    group: str | None = None  # shared by jobs that are done together
    also: Mapping[str, str] | None = None  # further words in the captions, each with its init
    graph: Mapping[str, Any] | None = None  # node, workflow, prompt, preview_percent
    preview: Mapping[str, Any] | None = None  # step and url of the latest

    @property
    def has_ended(self) -> bool:
        return self.state in ENDED


@dataclass(frozen=True)
class Event:
    """Something that happened to a job."""

    id: int
    name: str  # state, stage, note, step, validation or preview
    data: Mapping[str, Any]


class Client:
    """Talks to one server. Every call has a connection of its own, so that threads may share it.

    Args:
        url: where the server says that it is serving.
        token: what its `--token-file` holds, if it was given one.
        timeout: seconds that an answer, or a sign of life between events, may take.
    """

    def __init__(
        self, url: str = "http://127.0.0.1:8642", token: str | None = None, timeout: float = 30
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ValueError(f"url: needs http://HOST:PORT, got {url!r}")
        https = parts.scheme == "https"
        self._connection = http.client.HTTPSConnection if https else http.client.HTTPConnection
        self._host = parts.netloc
        self._prefix = parts.path.rstrip("/")
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self.timeout = timeout

    def health(self) -> Mapping[str, Any]:
        """status, version, and how many jobs are queued and running."""
        answer: Mapping[str, Any] = self._json("GET", "/v1/health")
        return answer

    def models(self) -> list[str]:
        """The names that `train` takes as `model`."""
        return [model["name"] for model in self._json("GET", "/v1/models")["models"]]

    def settings(self) -> Mapping[str, Any]:
        """A JSON Schema of what `train` takes as settings."""
        schema: Mapping[str, Any] = self._json("GET", "/v1/settings")
        return schema

    def train(
        self,
        model: str,
        pictures: StrPath | Sequence[StrPath],
        word: str,
        init: str,
        *,
        also: Mapping[str, str] | None = None,
        **settings: Setting,
    ) -> Job:
        """Queues a training.

        Args:
            model: one of `models()`.
            pictures: a `str` is a folder's name on the server; a `Path` is a folder or a picture
                here, a list of paths is pictures here, and these are sent.
            word: the new word.
            init: a known word for the kind of thing.
            also: further words in the same captions, each with its `init`.
            settings: what differs from the defaults.
        """
        about = {"model": model, "word": word, "init": init}
        if isinstance(pictures, str):
            named = about | {"images": pictures, "settings": settings}
            whole = json.dumps(named | ({"also": dict(also)} if also else {}))
            return self._job("POST", "/v1/jobs", whole.encode(), "application/json")
        boundary = secrets.token_hex(16)
        objects = {"settings": settings, "also": also}
        texts = about | {name: json.dumps(value) for name, value in objects.items() if value}
        body = _multipart(boundary, texts, _pictures(pictures))
        return self._job("POST", "/v1/jobs", body, f"multipart/form-data; boundary={boundary}")

    def train_together(
        self, model: str, subjects: Sequence[Mapping[str, str]], **settings: Setting
    ) -> list[Job]:
        """Queues several trainings over one copy of the model: a job each, done together.

        Args:
            model, settings: as for `train`, the same for all.
            subjects: of each its `images`, a folder's name on the server, `word` and `init`.
        """
        body = json.dumps({"model": model, "subjects": list(subjects), "settings": settings})
        answer = self._json("POST", "/v1/subjects", body.encode(), "application/json")
        return [_job(job) for job in answer["jobs"]]

    def extend(self, id: str, steps: int) -> Job:
        """Queues a training that goes on where an ended one was, to `steps` in all; that one stays
        as it is."""
        body = json.dumps({"steps": steps}).encode()
        return self._job("POST", f"{_path(id)}/extend", body, "application/json")

    def jobs(self) -> list[Job]:
        """Every job that the server keeps, newest first."""
        return [_job(job) for job in self._json("GET", "/v1/jobs")["jobs"]]

    def job(self, id: str) -> Job:
        return self._job("GET", _path(id))

    def events(self, id: str, after: int = 0) -> Iterator[Event]:
        """What happens to a job, from the event behind `after` to the last one that it will have.

        A line that breaks is taken up again where it broke; only when there has been no server for
        `timeout` seconds, its error is raised.
        """
        lost = None
        while True:
            before = after
            try:
                with self._open("GET", f"{_path(id)}/events", last=after) as answer:
                    lost = None
                    for event in _read_events(answer):
                        after = event.id
                        yield event
                # A line that was closed early looks like one that was closed after the last event.
                if after == before and self.job(id).has_ended:
                    return
            except (OSError, http.client.HTTPException):
                lost = lost or time.monotonic()
                if time.monotonic() - lost > self.timeout:
                    raise
            if after == before:
                time.sleep(0.2)

    def wait(self, id: str, timeout: float | None = None) -> Job:
        """The job when it has ended. Raises TimeoutError after `timeout` seconds."""
        end = None if timeout is None else time.monotonic() + timeout
        pause = 0.02
        while not (job := self.job(id)).has_ended:
            if end is not None and time.monotonic() > end:
                raise TimeoutError(f"job {id} is {job.state} after {timeout} seconds")
            time.sleep(pause)
            pause = min(1.0, pause * 1.5)
        return job

    def stop(self, id: str) -> Job:
        """Ends a training that keeps the word so far."""
        return self._job("POST", f"{_path(id)}/stop")

    def cancel(self, id: str) -> Job:
        """Ends a training that keeps nothing."""
        return self._job("POST", f"{_path(id)}/cancel")

    def delete(self, id: str) -> None:
        """Forgets a job that has ended, with its word."""
        self._read("DELETE", _path(id))

    def token(self, id: str, word: str = "") -> bytes:
        """The word's file, which ComfyUI loads as an embedding; of several words that of `word`."""
        asked = f"?word={quote(word, safe='')}" if word else ""
        return self._read("GET", f"{_path(id)}/token{asked}")

    def save_token(self, id: str, path: StrPath, word: str = "") -> Path:
        """Writes the word's file, whole or not at all."""
        path = Path(path)
        content = self.token(id, word)
        handle, half = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(handle)
            os.replace(half, path)
        except BaseException:
            os.unlink(half)
            raise
        return path

    def preview(self, id: str, step: int) -> bytes:
        """A picture (PNG) that was drawn at this step; `preview` events name the steps."""
        return self._read("GET", f"{_path(id)}/previews/{step}")

    @contextlib.contextmanager
    def _open(
        self, method: str, path: str, body: bytes | None = None, kind: str = "", last: int = 0
    ) -> Iterator[http.client.HTTPResponse]:
        headers = dict(self._headers)
        headers |= {"Content-Type": kind} if kind else {}
        headers |= {"Last-Event-ID": str(last)} if last else {}
        with contextlib.closing(self._connection(self._host, timeout=self.timeout)) as connection:
            try:
                connection.request(method, self._prefix + path, body, headers)
            except (BrokenPipeError, ConnectionResetError):
                # A body may be refused before all of it was sent: the answer says why.
                if connection.sock is None:  # it broke before there was a line
                    raise
            with connection.getresponse() as answer:
                if answer.status >= 300:
                    raise _error(answer)
                yield answer

    def _read(self, method: str, path: str, body: bytes | None = None, kind: str = "") -> bytes:
        with self._open(method, path, body, kind) as answer:
            return answer.read()

    def _json(self, method: str, path: str, body: bytes | None = None, kind: str = "") -> Any:
        return json.loads(self._read(method, path, body, kind))

    def _job(self, method: str, path: str, body: bytes | None = None, kind: str = "") -> Job:
        return _job(self._json(method, path, body, kind))


def _path(id: str) -> str:
    return f"/v1/jobs/{quote(id, safe='')}"


def _job(told: Mapping[str, Any]) -> Job:
    """Members that a newer server has and this client does not know are passed over."""
    known = {field.name for field in fields(Job)}
    return Job(**{name: value for name, value in told.items() if name in known})


def _error(response: http.client.HTTPResponse) -> ApiError:
    try:
        problem = json.loads(response.read())
    except (OSError, ValueError, http.client.HTTPException):
        problem = None
    if not isinstance(problem, dict):
        problem = {}  # of a proxy between, for example
    after = response.getheader("Retry-After", "")
    return ApiError(
        response.status,
        str(problem.get("title") or response.reason),
        str(problem.get("detail", "")),
        float(after) if after.isdecimal() else None,
    )


def _read_events(lines: http.client.HTTPResponse) -> Iterator[Event]:
    """Server-sent events; one that breaks off before its blank line is none."""
    event: dict[str, str] = {}
    for line in lines:
        name, _, value = line.decode().rstrip("\r\n").partition(":")
        if name:
            event[name] = value.removeprefix(" ")
        elif line.strip() == b"" and "data" in event:
            yield Event(int(event["id"]), event["event"], json.loads(event["data"]))
            event = {}


def _pictures(pictures: StrPath | Sequence[StrPath]) -> list[Path]:
    if not isinstance(pictures, os.PathLike):
        return [Path(picture) for picture in pictures]
    path = Path(pictures)
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.iterdir() if file.suffix.lower() in PICTURES)


def _multipart(boundary: str, texts: Mapping[str, str], pictures: Sequence[Path]) -> bytes:
    parts = [(f'name="{name}"', text.encode()) for name, text in texts.items()]
    for path in pictures:
        # As browsers write it (WHATWG HTML, multipart form data).
        name = path.name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        head = f'name="pictures"; filename="{name}"\r\nContent-Type: {kind}'
        parts.append((head, path.read_bytes()))
    body = [
        f"--{boundary}\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode() + content
        for head, content in parts
    ]
    return b"\r\n".join([*body, f"--{boundary}--\r\n".encode()])
