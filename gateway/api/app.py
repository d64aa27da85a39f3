"""The HTTP application: who may call what, errors as JSON, health and readiness; and the listener that serves it."""

import errno
import hmac
import json
import logging
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from gateway.api import ListenError
from gateway.logs import Redactor, redacted

log = logging.getLogger(__name__)

MAX_BODY_BYTES: Final = 8 * 1024 * 1024
"""The largest body of a request: as much as a frame on the gateway's socket."""

SHUTDOWN_SECONDS: Final = 5.0
"""How long requests that run may take to finish once the gateway stops."""

SERVER_NAME: Final = "hermes-gateway"

_OPEN: Final = "hermes_gateway_open"
"""The mark on handlers that need no key."""

_H = TypeVar("_H", bound=Handler)


def open_to_all(handler: _H) -> _H:
    """Mark a handler as one that anybody may call, or that checks by itself who calls. All others need the key."""
    setattr(handler, _OPEN, True)
    return handler


def create_app(
    *,
    health: Callable[[], Mapping[str, Any]],
    ready: Callable[[], tuple[bool, Mapping[str, Any]]],
    api_key: Callable[[], str | None] = lambda: None,
    redact: Callable[[str], str] | None = None,
) -> web.Application:
    """Build the application; further routes can be added to it until it is served.

    Args:
        health: what `/health` says besides that the process is alive.
        ready: whether messages can be taken and answered, and what `/ready` says about it.
        api_key: gives what requests have to carry as `Authorization: Bearer …` at present; without one, every route
            that is not open answers 401.
        redact: takes secrets out of what health and readiness tell; without one, what has the form of a secret.
    """
    app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[_errors_as_json, _guard(api_key)])
    redact = redact or Redactor()

    @open_to_all
    async def show_health(_request: web.Request) -> web.Response:
        return _json({"status": "ok", **redacted(health(), redact)})

    @open_to_all
    async def show_ready(_request: web.Request) -> web.Response:
        is_ready, details = ready()
        status = {"status": "ready" if is_ready else "not ready", **redacted(details, redact)}
        return _json(status, status=200 if is_ready else 503)

    app.router.add_get("/health", show_health)
    app.router.add_get("/ready", show_ready)
    app.on_response_prepare.append(_finish_headers)
    return app


@asynccontextmanager
async def serve(app: web.Application, host: str, port: int) -> AsyncIterator[tuple[str, int]]:
    """Serve the application while the context lasts; yields the address and port that it listens on.

    Raises `ListenError` if that cannot be.
    """
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise ListenError(_why(error, host, port)) from error
        address, bound = runner.addresses[0][:2]
        log.info(
            "HTTP is served on %s", f"http://[{address}]:{bound}" if ":" in address else f"http://{address}:{bound}"
        )
        yield address, bound
    finally:
        await runner.cleanup()


def _why(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {port} on {host} is in use by another program:"
            " set http.port to a free one (0 takes any), or http.enabled: false"
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"port {port} on {host} may not be opened by this user: set http.port to one above 1023"
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return f"http.host {host!r} is no address of this machine: set it to 127.0.0.1, or to one that is"
    return f"cannot listen on http.host {host}, http.port {port}: {error.strerror or error}"


# --- what every request goes through -----------------------------------------------------------------------


def _guard(api_key: Callable[[], str | None]) -> Middleware:
    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let through what is open or carries the key. An unknown path is told only to whoever has the key."""
        if not getattr(request.match_info.handler, _OPEN, False):
            _check_key(request, api_key())
        if request.content_length is not None and request.content_length > MAX_BODY_BYTES:
            raise web.HTTPRequestEntityTooLarge(max_size=MAX_BODY_BYTES, actual_size=request.content_length)
        return await handler(request)

    return guard


def _check_key(request: web.Request, expected: str | None) -> None:
    """Raises HTTPUnauthorized. The comparison takes the same time wherever two keys differ."""
    if not expected:
        reason = "no API key is configured: set http.api_key, and send it as Authorization: Bearer …"
    else:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer" and hmac.compare_digest(
            given.strip().encode("utf-8", "surrogateescape"), expected.encode()
        ):
            return
        reason = "the API key is missing or wrong: send it as Authorization: Bearer …"
    raise web.HTTPUnauthorized(reason=None, text=reason, headers={"WWW-Authenticate": 'Bearer realm="hermes-gateway"'})


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give errors the body that clients of this kind of interface expect: `{"error": {"message", "type"}}`."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        kept = {name: error.headers[name] for name in ("WWW-Authenticate", "Allow") if name in error.headers}
        text = error.text or ""
        message = error.reason if text.startswith(f"{error.status}:") or not text else text
        return _error(error.status, message, kept)
    except Exception:
        log.exception("a request to %s failed", request.path)
        return _error(500, "an error inside the gateway; its log says more", {})


def _error(status: int, message: str, headers: Mapping[str, str]) -> web.Response:
    kind = {401: "authentication_error", 404: "not_found_error"}.get(
        status,
        "server_error" if status >= 500 else "invalid_request_error",
    )
    return _json({"error": {"message": message, "type": kind}}, status=status, headers=headers)


def _json(value: Mapping[str, Any], *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(text=json.dumps(value), status=status, headers=headers, content_type="application/json")


async def _finish_headers(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers["Server"] = SERVER_NAME
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers["X-Content-Type-Options"] = "nosniff"
