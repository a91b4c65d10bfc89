"""What the page asks by HTTP: the API of jobs, mounted on ComfyUI's server, and whether scripts
have an address of their own. Errors are problems in JSON (RFC 9457): {"detail": sentence}."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from aiohttp import web

from .jobs import Jobs

# What the help pages link to: a link in them cannot name a file of this folder, whose address
# follows what the folder is called.
_SETTINGS_PAGE = Path(__file__).resolve().parents[1] / "web" / "docs" / "settings.md"

_MOUNT = "/zoodip"
_LOOK_SECONDS = 0.25  # between two looks for events


def add_routes(routes: web.RouteTableDef, jobs: Jobs) -> None:
    """Adds the package's routes to those of the host."""
    pages = _Pages(jobs)
    for method in ("GET", "POST", "DELETE"):
        routes.route(method, _MOUNT + "/v1/{path:.*}")(pages.mounted)
    routes.get(_MOUNT + "/openapi.json")(pages.mounted)
    routes.get(_MOUNT + "/settings")(pages.settings)
    routes.get(_MOUNT + "/api")(pages.api)
    routes.post(_MOUNT + "/api")(pages.set_api)


def _problem(status: int, sentence: str) -> web.Response:
    problem = {"status": status, "detail": sentence}
    return web.json_response(problem, status=status, content_type="application/problem+json")


class _Pages:
    """The handlers. What touches files, or takes long, is done off the event loop."""

    def __init__(self, jobs: Jobs):
        self._jobs = jobs

    async def mounted(self, request: web.Request) -> web.StreamResponse:
        """The engine's API answers."""
        target = request.raw_path[request.raw_path.index(_MOUNT) + len(_MOUNT) :]
        given = [(name.lower(), value) for name, value in request.headers.items()]
        headers = [pair for pair in given if pair[0] != "content-length"]
        body = await request.read()
        if body or request.can_read_body or "Content-Length" in request.headers:
            headers.append(("content-length", str(len(body))))
        try:
            service = await asyncio.to_thread(self._jobs.service)
            answer = await asyncio.to_thread(service.answer, request.method, target, headers, body)
        except Exception as error:  # no engine, or a folder that cannot be used
            return _problem(503, str(error))
        if answer.is_stream:
            return await _stream(request, answer)
        # What an address shows may change under it: previews name the step only to differ.
        shown = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
        shown |= dict(answer.headers)
        if answer.content_type:
            shown["Content-Type"] = answer.content_type
        return web.Response(body=answer.body, status=answer.status, headers=shown)

    async def settings(self, request: web.Request) -> web.StreamResponse:
        # Browsers show plain text, and save a file of other kinds.
        return web.FileResponse(
            _SETTINGS_PAGE, headers={"Content-Type": "text/plain; charset=utf-8"}
        )

    async def api(self, request: web.Request) -> web.Response:
        return web.json_response(await asyncio.to_thread(lambda: self._jobs.state))

    async def set_api(self, request: web.Request) -> web.Response:
        try:
            values = json.loads(await request.read())
        except (ValueError, RecursionError):
            values = None
        if not isinstance(values, dict) or values.keys() != {"enabled"}:
            return _problem(400, 'The request needs a JSON object like {"enabled": true}.')
        if not isinstance(values["enabled"], bool):
            return _problem(400, "enabled: needs true or false.")
        try:
            await asyncio.to_thread(self._jobs.set_enabled, values["enabled"])
        except OSError as error:
            return _problem(500, f"The setting cannot be kept: {error}.")
        return await self.api(request)


async def _stream(request: web.Request, answer: Any) -> web.StreamResponse:
    """Events until none will follow, or nobody listens."""
    response = web.StreamResponse(
        headers={"Content-Type": answer.content_type, "Cache-Control": "no-cache"}
    )
    await response.prepare(request)
    while (text := await asyncio.to_thread(answer.next_events)) is not None:
        if text:
            await response.write(text.encode())
        elif request.transport is None or request.transport.is_closing():
            break
        else:
            await asyncio.sleep(_LOOK_SECONDS)
    return response
