"""The package's templates in the order of their names: the host lists them as the disk does."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from aiohttp import web

# Not resolved: the host names a package by the folder it found, which may be a link.
_PACKAGE = Path(__file__).absolute().parents[1].name
_ADDRESS = "/workflow_templates"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def in_order(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Puts the host's own answer in order, where it is what it is known to be."""
    reply = await handler(request)
    if request.path.removeprefix("/api") == _ADDRESS and isinstance(reply, web.Response):
        with suppress(ValueError, TypeError, KeyError, AttributeError):
            listed = json.loads(reply.text)
            listed[_PACKAGE] = sorted(listed[_PACKAGE])
            reply.text = json.dumps(listed)
    return reply
