"""What a Personalize node shows before its training has a key: the wires are read and the pictures
looked at, which takes a while and may fail."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .jobs import EVENT, Jobs

Send = Callable[[str, dict[str, Any]], object]


@contextmanager
def beginning(
    word: str, steps: int, place: dict[str, str], jobs: Jobs, send: Send, interruption: type
) -> Iterator[Any]:
    """A job, as zoodip.service.Service.begin gives it, that shows on the node that it began, in
    place of its last one. An error is shown as well, and raised on.

    place: node, workflow and prompt. interruption: of the errors that one which ends a prompt
    without being one.
    """
    try:
        service = jobs.service()
    except Exception as error:
        failed = {"id": uuid.uuid4().hex, "state": "failed", "message": str(error), "word": word}
        send(EVENT, failed | {"graph": place, "step": 0, "steps": steps, "points": []})
        raise
    job = service.begin(**place, word=word, steps=steps)
    with jobs.learning():
        try:
            job.on_stage("reading the model and the pictures")
            yield job
        except BaseException as error:
            if isinstance(error, interruption):
                job.end("interrupted", "Interrupted before the first step; nothing was learned.")
            else:
                job.end("failed", str(error).strip() or type(error).__name__)
            raise
