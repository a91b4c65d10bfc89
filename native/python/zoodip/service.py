"""The jobs of a program of Python, and the HTTP API over them: what `zoodip serve` serves, from
this process.

A program that trains by itself, as ComfyUI's nodes do, begins its trainings here: they wait for
their turn among the jobs, are kept like them, and can be watched and stopped by HTTP. The API can
be served on an address of its own, or mounted on the program's server. `zoodip.client` is the other
end.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._api import Setting, StrPath, encode_settings, path_list
from ._loader import load_native

if TYPE_CHECKING:
    from types import TracebackType

DEFAULT_PORT = 8642


class Service:
    """Does jobs from its construction until it is closed, in threads of its own."""

    def __init__(
        self,
        *,
        models: StrPath | Sequence[StrPath],
        images: StrPath | Sequence[StrPath],
        jobs: StrPath,
        host: str = "127.0.0.1",
        port: int | None = DEFAULT_PORT,
        token: str = "",
        when_taken: str = "Choose another port",
        defaults: Mapping[str, Setting] | None = None,
        shared: bool = False,
        kept: int = 100,
        kept_days: int = 30,
        kept_mb: int = 0,
    ) -> None:
        """models, images: folders, or one, below which jobs find what they name. jobs: where jobs
        are kept. port: 0 for any that is free, None to serve no address. token: what requests must
        bear; needed beyond the loopback. when_taken: how another port is chosen here, for the
        message that this one is taken. defaults: settings for what a job does not say. shared:
        whether other processes may keep jobs of graphs in the folder; one of them does the API's.
        kept, kept_days, kept_mb: how many ended jobs are kept, how long, and in how many units of
        2^20 bytes, 0 for no limit.

        Raises:
            zoodip.Error: the address or the folder is taken, or a folder is missing.
        """
        self._native = load_native().Service(
            models=path_list(models),
            images=path_list(images),
            jobs=Path(jobs),
            shared=shared,
            kept=kept,
            kept_days=kept_days,
            kept_mb=kept_mb,
            defaults=encode_settings(defaults or {}),
        )
        if port is not None:
            try:
                self.serve(host=host, port=port, token=token, when_taken=when_taken)
            except BaseException:
                self.close()
                raise

    @property
    def url(self) -> str:
        """Where it serves; "" where it serves no address of its own."""
        return self._native.url or ""

    def serve(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = DEFAULT_PORT,
        token: str = "",
        when_taken: str = "Choose another port",
    ) -> None:
        """Serves an address; the arguments are the constructor's."""
        self._native.serve(host=host, port=port, token=token, when_taken=when_taken)

    def stop_serving(self) -> None:
        """Gives the address back; jobs go on."""
        self._native.stop_serving()

    def answer(
        self, method: str, target: str, headers: Iterable[tuple[str, str]] = (), body: bytes = b""
    ) -> Any:
        """What the API answers to a request that came over the program's own server, which has
        looked at who asks. target: path and query, from "/v1" on; headers: with names in small
        letters.

        Gives an object with `status`, `content_type`, `headers` and `body`; where `is_stream`,
        `next_events()` gives the text that came since, "" while nothing has, and None at the end.
        """
        return self._native.answer(method, target, list(headers), body)

    def listen(self, listener: Callable[[dict[str, Any]], object]) -> None:
        """Calls `listener`, from any thread, with a job as GET /v1/jobs/ID has it, the `points` of
        its curve since the last call and its `validations`: four times a second at most while it
        runs, and whenever its state or stage changes."""
        self._native.listen(lambda text: listener(json.loads(text)))

    def begin(self, *, node: str, workflow: str, prompt: str, word: str, steps: int = 0) -> Any:
        """A node of a graph begins; `zoodip.graph.learn` does the rest.

        Gives an object with `id`; `on_stage(text)`; `cancel()`, which interrupts it from any
        thread; and `end(state, message)`, for what fails or is interrupted before it learns.
        """
        return self._native.begin(
            node=node, workflow=workflow, prompt=prompt, word=word, steps=steps
        )

    def shown_at(self, workflow: str, node: str) -> str | None:
        """The id of the job that a node shows."""
        shown: str | None = self._native.shown_at(workflow, node)
        return shown

    def stop_graphs(self, seconds: float) -> bool:
        """Stops the jobs of graphs, keeps what they learned, and waits until they have ended; says
        whether all have. Those that begin later are stopped at once."""
        return bool(self._native.stop_graphs(seconds))

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
