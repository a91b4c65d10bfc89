"""What the page asks by HTTP: runs, previews, stop, the store, the API for scripts.

Errors are {"error": sentence}.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial, wraps
from pathlib import Path
from typing import Any

from aiohttp import web

from .http_api import HttpApi
from .live import LiveRuns, Payload, stored_payload
from .store import Store, StoreError

# What the help pages link to: a link in them cannot name a file of this folder, whose address
# follows what the folder is called.
_SETTINGS_PAGE = Path(__file__).resolve().parents[1] / "web" / "docs" / "settings.md"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class _Refusal(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, sentence: str):
        super().__init__(sentence)
        self.status = status


def add_routes(routes: web.RouteTableDef, runs: LiveRuns, store: Store, api: HttpApi) -> None:
    """Adds the package's routes to those of the host."""
    pages = _Pages(runs, store, api)
    routes.get("/zoodip/runs/{key}")(_answering(pages.run))
    routes.get("/zoodip/runs/{key}/preview")(_answering(pages.preview))
    routes.post("/zoodip/runs/{key}/stop")(_answering(pages.stop))
    routes.get("/zoodip/nodes/{node}")(_answering(pages.node))
    routes.post("/zoodip/nodes/{node}")(_answering(pages.remember))
    routes.get("/zoodip/settings")(_answering(pages.settings))
    routes.get("/zoodip/store")(_answering(pages.stats))
    routes.post("/zoodip/store")(_answering(pages.set_limit))
    routes.delete("/zoodip/store")(_answering(pages.clear))
    routes.get("/zoodip/api")(_answering(pages.api))
    routes.post("/zoodip/api")(_answering(pages.set_api))


def _answering(handler: Handler) -> Handler:
    """The handler with refusals and failures of the store as JSON."""

    @wraps(handler)
    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except _Refusal as refusal:
            return web.json_response({"error": str(refusal)}, status=refusal.status)
        except StoreError as error:
            return web.json_response({"error": str(error)}, status=500)

    return answer


async def _in_thread(work: Callable[..., Any], *arguments: Any) -> Any:
    """Runs what touches files, or takes long, off the event loop."""
    return await asyncio.get_running_loop().run_in_executor(None, partial(work, *arguments))


class _Pages:
    """The handlers."""

    def __init__(self, runs: LiveRuns, store: Store, api: HttpApi):
        self._runs, self._store, self._api = runs, store, api

    async def run(self, request: web.Request) -> web.Response:
        return web.json_response(await _in_thread(self._payload, request.match_info["key"]))

    async def node(self, request: web.Request) -> web.Response:
        node, workflow = request.match_info["node"], request.query.get("workflow", "")
        return web.json_response(await _in_thread(self._payload_of_node, workflow, node))

    async def remember(self, request: web.Request) -> web.Response:
        """A page found the run of a node whose result the host still had."""
        values = _members(await request.read(), '{"workflow": "ID", "run": "KEY"}')
        workflow, key = values["workflow"], values["run"]
        if not (isinstance(workflow, str) and isinstance(key, str)):
            raise _Refusal(400, "workflow and run: need texts.")
        await _in_thread(self._payload, key)  # one that is there
        node = request.match_info["node"]
        await _in_thread(self._store.set_node_run, workflow, node, key)
        earlier = self._runs.of_node(workflow, node)
        if earlier is not None and earlier.ended and earlier.key != key:
            self._runs.drop(earlier)  # what the node shows no more
        return web.json_response({"run": key})

    async def preview(self, request: web.Request) -> web.Response:
        jpeg = await _in_thread(self._preview, request.match_info["key"])
        # The address names the step only to differ; what is latest may change under it.
        headers = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
        return web.Response(body=jpeg, content_type="image/jpeg", headers=headers)

    async def stop(self, request: web.Request) -> web.Response:
        key = request.match_info["key"]
        run = self._runs.get(key)
        if run is None or not run.request_stop():
            payload = await _in_thread(self._payload, key)
            raise _Refusal(409, f"This training is not running: it is {payload['state']}.")
        return web.json_response({"run": key}, status=202)

    async def settings(self, request: web.Request) -> web.StreamResponse:
        # Browsers show plain text, and save a file of other kinds.
        return web.FileResponse(
            _SETTINGS_PAGE, headers={"Content-Type": "text/plain; charset=utf-8"}
        )

    async def stats(self, request: web.Request) -> web.Response:
        return web.json_response(await _in_thread(self._store.stats))

    async def set_limit(self, request: web.Request) -> web.Response:
        await _in_thread(self._set_limit, await request.read())
        return await self.stats(request)

    async def clear(self, request: web.Request) -> web.Response:
        await _in_thread(self._store.clear)
        self._runs.forget_ended()
        return await self.stats(request)

    async def api(self, request: web.Request) -> web.Response:
        return web.json_response(await _in_thread(lambda: self._api.state))

    async def set_api(self, request: web.Request) -> web.Response:
        enabled = _only_value(await request.read(), "enabled", "true")
        if not isinstance(enabled, bool):
            raise _Refusal(400, "enabled: needs true or false.")
        try:
            await _in_thread(self._api.set_enabled, enabled)
        except OSError as error:
            raise _Refusal(500, f"The setting cannot be kept: {error}.") from None
        return await self.api(request)

    # In a thread.

    def _payload(self, key: str) -> Payload:
        run = self._runs.get(key)
        if run is not None:
            return run.payload
        record = self._store.record(key)
        if record is None:
            raise _Refusal(404, "There is no training of this key: it was dropped or never begun.")
        return stored_payload(record)

    def _payload_of_node(self, workflow: str, node: str) -> Payload | None:
        """None for a node that has shown none, or whose run was dropped: every fresh node is asked
        for, and a page reports what is not found as an error."""
        run = self._runs.of_node(workflow, node)
        key = run.key if run else self._store.node_run(workflow, node)
        if key is None:
            return None
        with suppress(_Refusal):
            # The same run may have been shown by another node last.
            return {**self._payload(key), "node": node, "workflow": workflow}
        return None

    def _preview(self, key: str) -> bytes:
        run = self._runs.get(key)
        jpeg = (run.preview_jpeg if run else None) or self._store.preview(key)
        if jpeg is None:
            raise _Refusal(404, "There is no preview of this training.")
        return jpeg

    def _set_limit(self, body: bytes) -> None:
        try:
            self._store.set_limit(_only_value(body, "limit_mb", "256"))
        except ValueError as error:
            raise _Refusal(400, str(error)) from None


def _only_value(body: bytes, name: str, example: str) -> Any:
    """The value of a JSON object that has this one member."""
    return _members(body, f'{{"{name}": {example}}}')[name]


def _members(body: bytes, example: str) -> dict[str, Any]:
    """A JSON object with the members that the example has."""
    try:
        values = json.loads(body)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict) or values.keys() != json.loads(example).keys():
        raise _Refusal(400, f"The request needs a JSON object like {example}.")
    return values
