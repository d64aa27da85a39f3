"""MCP over HTTP: `/mcp` of the gateway's listener, for who shows a credential."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from aiohttp import web

from config import LiveConfig
from gateway.api.errors import ApiError
from gateway.api.guard import Verifier, open_to_all, read_body
from gateway.mcp.door import Guest, ToolDoor
from gateway.mcp.errors import CallRefusedError
from gateway.storage.errors import StorageError
from gateway.tools.caller import UnknownCallerError

if TYPE_CHECKING:
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

    from gateway.mcp.server import Context

log = logging.getLogger(__name__)

PATH: Final = "/mcp"
SESSION_HEADER: Final = "Hermes-Session"
"""Names the session in whose place the operator calls."""

KEY_HEADER: Final = "Idempotency-Key"
"""Names the call of a request, as the argument of that name does, for clients that repeat requests by themselves
(https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/)."""

MAX_BODY_BYTES: Final = 4 * 1024 * 1024
"""The largest request: the longest message to a session, and far more."""

LOOK_SECONDS: Final = 1.0
"""How often a request that waits looks whether its client is still there."""

LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")

_GUEST: Final = "hermes_gateway.guest"


class McpEndpoint:
    """Serves `/mcp`: to the agent of an open turn, by its token, and to the operator, by a key that is good for
    everything. Nobody else gets an answer.

    For whom the listener is, by the Host header, is checked for every route of it; here what page a request comes from
    is too, by its Origin (https://modelcontextprotocol.io/specification/2025-06-18/basic/transports, "Security").
    """

    def __init__(self, door: ToolDoor, keys: Verifier, config: LiveConfig) -> None:
        self._door = door
        self._keys = keys
        self._config = config
        self._starting = asyncio.Lock()
        self._manager: StreamableHTTPSessionManager | None = None
        self._task: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()
        self._exchanges: set[asyncio.Task[web.StreamResponse]] = set()

    def add_to(self, app: web.Application) -> None:
        """Add the route."""

        @open_to_all
        async def serve(request: web.Request) -> web.StreamResponse:
            return await self._serve(request)

        app.router.add_route("*", PATH, serve)
        app.on_shutdown.append(self._cut_off)
        app.cleanup_ctx.append(self._run)

    async def _cut_off(self, _app: web.Application) -> None:
        """No turn goes on any more: a call that waits for one is not held until the listener loses its patience."""
        for exchange in self._exchanges:
            exchange.cancel()

    async def _run(self, _app: web.Application) -> AsyncIterator[None]:
        yield
        self._closing.set()
        if self._task is not None:
            await self._task

    async def _started(self) -> "StreamableHTTPSessionManager":
        """What speaks the protocol. Its library takes a second and 25 MB, so it is loaded for the first who asks."""
        async with self._starting:
            if self._manager is None:
                manager = await asyncio.to_thread(self._build)
                ready = asyncio.Event()
                self._task = asyncio.create_task(self._keep(manager, ready), name="mcp")
                await ready.wait()
                self._manager = manager
            return self._manager

    def _build(self) -> "StreamableHTTPSessionManager":
        from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

        from gateway.mcp.server import build_server

        server = build_server(self._describe, self._call)
        return StreamableHTTPSessionManager(server, stateless=True, max_request_body_size=MAX_BODY_BYTES)

    async def _keep(self, manager: "StreamableHTTPSessionManager", ready: asyncio.Event) -> None:
        async with manager.run():
            ready.set()
            await self._closing.wait()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self._check_origin(request)
        try:
            guest = await self._guest(request)
        except UnknownCallerError as error:
            headers = {"WWW-Authenticate": 'Bearer realm="hermes-gateway"'}
            words = f"{error}: send a key, or a turn's token, as Authorization: Bearer …"
            raise ApiError(401, words, code="invalid_api_key", headers=headers) from error
        except StorageError as error:
            raise ApiError(503, "the database is out of use at present", code="unavailable") from error
        body = await read_body(request)
        app = (await self._started()).handle_request
        exchange = asyncio.create_task(_Exchange(request, body).run(app, guest), name="mcp exchange")
        self._exchanges.add(exchange)
        exchange.add_done_callback(self._exchanges.discard)
        try:
            return await exchange
        finally:
            exchange.cancel()

    async def _guest(self, request: web.Request) -> Guest:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        given = given.strip()
        if scheme.lower() != "bearer" or not given:
            raise UnknownCallerError("a credential is missing")
        holder = self._keys.verify(given)
        if holder is None:
            return await self._door.of_token(given)
        if not holder.may("admin"):
            words = f"the key {holder.name} is not good for this: it takes one for admin"
            raise ApiError(403, words, code="insufficient_permissions")
        return await self._door.of_operator(request.headers.get(SESSION_HEADER))

    def _check_origin(self, request: web.Request) -> None:
        """A browser says what page has it send a request; other programs say nothing. Raises `ApiError`."""
        origin = request.headers.get("Origin")
        if origin is None:
            return
        ours = {*LOOPBACK, *(host.lower() for host in self._config.current.http.allowed_hosts)}
        if (_name_of(origin) or "") not in ours:
            words = "a page from elsewhere may not use this: its Origin is not in http.allowed_hosts"
            raise ApiError(403, words, code="wrong_origin")

    # --- what the server asks --------------------------------------------------------------------------------

    async def _describe(self, context: "Context") -> Sequence[Mapping[str, Any]]:
        try:
            tools = await self._door.tools(_guest_of(context))
        except (UnknownCallerError, StorageError) as error:
            raise CallRefusedError(str(error)) from error
        return [{"name": one.name, "description": one.description, "parameters": one.parameters} for one in tools]

    async def _call(self, context: "Context", name: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        key = context.request.headers.get(KEY_HEADER) if context.request is not None else None
        return await self._door.call(_guest_of(context), name, arguments, key=key)


def _guest_of(context: "Context") -> Guest:
    guest = context.request.scope.get(_GUEST) if context.request is not None else None
    if not isinstance(guest, Guest):
        raise CallRefusedError("nobody is known to call")
    return guest


def _name_of(origin: str) -> str | None:
    """The host that an origin names; None for what is none."""
    try:
        return urlsplit(origin).hostname
    except ValueError:
        return None


class _Exchange:
    """One request of aiohttp as an ASGI application takes it (https://asgi.readthedocs.io/en/latest/specs/www.html)."""

    def __init__(self, request: web.Request, body: bytes) -> None:
        self._request = request
        self._body = body
        self._response: web.StreamResponse | None = None
        self._read = False
        self._ended = asyncio.Event()

    async def run(self, app: Callable[..., Any], guest: Guest) -> web.StreamResponse:
        """Have the application answer."""
        request = self._request
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": request.method,
            "scheme": request.scheme,
            "path": request.path,
            "raw_path": request.rel_url.raw_path.encode(),
            "query_string": request.rel_url.raw_query_string.encode(),
            "root_path": "",
            "headers": [(name.lower(), value) for name, value in request.raw_headers],
            "client": None,
            "server": None,
            "state": {},
            _GUEST: guest,
        }
        try:
            await app(scope, self._receive, self._send)
        finally:
            self._ended.set()
        return self._response or web.Response(status=500)

    async def _receive(self) -> dict[str, Any]:
        if not self._read:
            self._read = True
            return {"type": "http.request", "body": self._body, "more_body": False}
        while not self._ended.is_set():
            transport = self._request.transport
            if transport is None or transport.is_closing():
                break
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._ended.wait()
            except TimeoutError:
                continue
        return {"type": "http.disconnect"}

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        """Once the client has gone, what is sent goes nowhere
        (https://asgi.readthedocs.io/en/latest/specs/www.html#disconnected-client-send-exception): to the library an
        error here is one to log with all of where it came up."""
        try:
            await self._pass_on(message)
        except ConnectionResetError:
            log.debug("a client of %s has gone", PATH)
            self._ended.set()

    async def _pass_on(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self._response = web.StreamResponse(status=message["status"])
            for name, value in message.get("headers", ()):
                self._response.headers.add(name.decode("latin-1"), value.decode("latin-1"))
            await self._response.prepare(self._request)
        elif message["type"] == "http.response.body" and self._response is not None:
            if message.get("body"):
                await self._response.write(message["body"])
            if not message.get("more_body"):
                await self._response.write_eof()
                self._ended.set()
