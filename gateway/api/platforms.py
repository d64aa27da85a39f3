"""The requests of platforms to our HTTP listener: bounded, and handed to the adapter that they are for."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from aiohttp import web

from gateway.api.guard import checks_by_itself, read_body
from gateway.ports import HttpHandler, HttpRequest, HttpResponse

log = logging.getLogger(__name__)

MAX_BODY_BYTES: Final = 1024 * 1024
"""The largest body of a platform's request: updates are some kilobytes, and this comes before anybody has shown who
they are."""

BODY_SECONDS: Final = 15.0
"""How long a body may take to arrive."""

HANDLER_SECONDS: Final = 30.0
"""How long an adapter may take to answer: beyond it platforms have given the request up themselves."""

UNAVAILABLE: Final = HttpResponse(503, "try again later")
FAILED: Final = HttpResponse(500, "the request could not be handled")


class PlatformRequests:
    """Serves `/platforms/<platform>/…`. `handler` gives what takes a platform's requests at present, None while its
    adapter is on its way; it raises KeyError for one that takes none. The adapter checks who sends them."""

    def __init__(
        self,
        handler: Callable[[str], HttpHandler | None],
        *,
        body_seconds: float = BODY_SECONDS,
        handler_seconds: float = HANDLER_SECONDS,
    ) -> None:
        self._handler = handler
        self._body_seconds = body_seconds
        self._handler_seconds = handler_seconds

    def add_to(self, app: web.Application) -> None:
        """Add the routes."""

        @checks_by_itself
        async def serve(request: web.Request) -> web.Response:
            return await self._serve(request)

        app.router.add_route("*", "/platforms/{platform}/{path:.*}", serve)

    async def _serve(self, request: web.Request) -> web.Response:
        platform = request.match_info["platform"]
        try:
            handler = self._handler(platform)
        except KeyError:
            raise web.HTTPNotFound(text="no platform takes requests here") from None
        if handler is None:
            answer = UNAVAILABLE
        else:
            body = await read_body(request, seconds=self._body_seconds, limit=MAX_BODY_BYTES)
            headers = {name.lower(): value for name, value in request.headers.items()}
            path = request.match_info["path"]
            answer = await self._ask(platform, handler, HttpRequest(request.method, path, headers, body))
        return web.Response(status=answer.status, text=answer.body, content_type=answer.content_type)

    async def _ask(self, platform: str, handler: HttpHandler, request: HttpRequest) -> HttpResponse:
        try:
            async with asyncio.timeout(self._handler_seconds):
                return await handler(request)
        except TimeoutError:
            log.warning("the adapter for %s did not answer a request in %g seconds", platform, self._handler_seconds)
            return UNAVAILABLE
        except Exception:
            log.exception("the adapter for %s failed at a request", platform)
            return FAILED
