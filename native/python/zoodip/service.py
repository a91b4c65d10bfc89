"""The HTTP API inside a program of Python: what `zoodip serve` serves, from this process.

A program that trains by itself, as ComfyUI's nodes do, enters its trainings: they then wait for
their turn among the jobs, and can be watched and stopped by HTTP. `zoodip.client` is the other end.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._api import Setting, StrPath, encode_settings, path_list
from ._loader import load_native

if TYPE_CHECKING:
    from types import TracebackType

DEFAULT_PORT = 8642


class Service:
    """Serves from its construction until it is closed, in threads of its own."""

    def __init__(
        self,
        *,
        models: StrPath | Sequence[StrPath],
        images: StrPath | Sequence[StrPath],
        jobs: StrPath,
        host: str = "127.0.0.1",
        port: int = DEFAULT_PORT,
        token: str = "",
        when_taken: str = "Choose another port",
        defaults: Mapping[str, Setting] | None = None,
    ) -> None:
        """models, images: folders, or one, below which jobs find what they name. jobs: where jobs
        are kept. port: 0 for any that is free. token: what requests must bear; needed beyond the
        loopback. when_taken: how another port is chosen here, for the message that this one is
        taken.
        defaults: settings for what a job does not say.

        Raises:
            zoodip.Error: the address or the folder is taken, or a folder is missing.
        """
        self._native = load_native().Service(
            models=path_list(models),
            images=path_list(images),
            jobs=Path(jobs),
            host=host,
            port=port,
            token=token,
            when_taken=when_taken,
            defaults=encode_settings(defaults or {}),
        )
        self.url: str = self._native.url

    def enter(
        self, *, model: str, word: str, init: str, settings: Mapping[str, Setting], device: str
    ) -> Any:
        """Queues a training that the caller does itself, for the time when `device` is free.

        Gives an object with `wait(seconds)`, which says whether the turn has come (it has, too,
        once the service is closed); `cancel_token`, set when it is asked to stop, and `wish`,
        "stop" (and keep) or "cancel"; what tells of it: `on_stage(text)`, `on_start(step, steps)`,
        `on_step(step, steps, loss, smooth_loss)`, `preview(step, jpeg)`; and
        `end(state, message, token)`, which must be called: state is finished, stopped, cancelled
        or failed, token the file of the word or "".
        """
        return self._native.enter(
            model=model, word=word, init=init, settings=json.dumps(dict(settings)), device=device
        )

    def close(self) -> None:
        """Stops what runs, with its state kept, and gives the address back. May take as long as
        one block of the UNet."""
        self._native.close()

    def __enter__(self) -> Service:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
