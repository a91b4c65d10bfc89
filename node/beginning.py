"""What a Personalize node shows before its training has a key: the wires are read and the pictures
looked at, which takes a while and may fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .live import LiveRun, LiveRuns, beginning_key

if TYPE_CHECKING:
    from .training import Place

Send = Callable[[str, dict[str, Any]], object]


@contextmanager
def beginning(
    word: str, steps: int, place: Place, runs: LiveRuns, send: Send, interruption: type
) -> Iterator[None]:
    """Shows on the node that it began, in place of its last run; a training that begins inside the
    block takes over. An error before that is shown as any other is, and raised on.

    interruption: of the errors that one which ends a prompt without being one.
    """
    key = beginning_key(place.workflow, place.node)
    live = LiveRun(key, place.node, place.workflow, place.prompt, word, steps, None, send)
    runs.add(live)
    live.stage("reading the model and the pictures")
    try:
        yield
    except BaseException as error:
        if runs.get(live.key) is live:
            _end(live, error, interruption)
        raise
    runs.drop(live)


def _end(live: LiveRun, error: BaseException, interruption: type) -> None:
    if isinstance(error, interruption):
        live.end("interrupted", "Interrupted before the first step; nothing was learned.")
    else:
        live.end("failed", str(error).strip() or type(error).__name__)
