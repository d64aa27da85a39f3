"""The HTTP application: health, readiness and metrics; and the listener that serves it."""

import errno
import ipaddress
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from gateway.api import ListenError
from gateway.api.guard import MAX_BODY_BYTES, Verifier, errors_as_json, guard, json_response, needs, open_to_all
from gateway.logs import Redactor, redacted

log = logging.getLogger(__name__)

SHUTDOWN_SECONDS: Final = 5.0
"""How long requests that run may take to finish once the gateway stops."""

HEAD_SECONDS: Final = 75.0
"""How long the head of a request may take to arrive: from the opening of the connection, or from the answer before. One
that sends nothing, or a byte now and then, is closed. It is longer than proxies keep a connection that they do not use
(nginx: 60 seconds, https://nginx.org/en/docs/http/ngx_http_upstream_module.html#keepalive_timeout): so none sends a
request into one that is just being closed."""

SERVER_NAME: Final = "hermes-gateway"

METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
"""https://prometheus.io/docs/instrumenting/exposition_formats/#basic-info"""


async def nothing_measured() -> bytes:
    """The metrics of an application that has none."""
    return b""


def create_app(
    *,
    health: Callable[[], Mapping[str, Any]],
    ready: Callable[[], tuple[bool, Mapping[str, Any]]],
    keys: Verifier,
    metrics: Callable[[], Awaitable[bytes]] = nothing_measured,
    hosts: Callable[[], Collection[str]] = tuple,
    redact: Callable[[str], str] | None = None,
) -> web.Application:
    """Build the application; further routes can be added to it until it is served.

    Args:
        health: what `/health` says besides that the process is alive.
        ready: whether messages can be taken and answered, and what `/ready` says about it.
        keys: who knows the keys that requests have to carry as `Authorization: Bearer …`; while there are none, every
            route that is not open answers 401.
        metrics: what `/metrics` says, in Prometheus' text format. It takes a key for `read`: behind a proxy every
            caller seems to be this machine, and how busy people are is nobody else's business.
        hosts: by which names, besides `localhost` and addresses, programs may address the listener.
        redact: takes secrets out of what health and readiness tell; without one, what has the form of a secret.
    """
    app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[errors_as_json, guard(keys, hosts)])
    redact = redact or Redactor()

    @open_to_all
    async def show_health(_request: web.Request) -> web.Response:
        return json_response({"status": "ok", **redacted(health(), redact)})

    @open_to_all
    async def show_ready(_request: web.Request) -> web.Response:
        is_ready, details = ready()
        status = {"status": "ready" if is_ready else "not ready", **redacted(details, redact)}
        return json_response(status, status=200 if is_ready else 503)

    @needs("read")
    async def show_metrics(_request: web.Request) -> web.Response:
        return web.Response(body=await metrics(), headers={"Content-Type": METRICS_TYPE})

    app.router.add_get("/health", show_health)
    app.router.add_get("/metrics", show_metrics)
    app.router.add_get("/ready", show_ready)
    app.on_response_prepare.append(_finish_headers)
    return app


@asynccontextmanager
async def serve(
    app: web.Application, host: str, port: int, *, head_seconds: float = HEAD_SECONDS
) -> AsyncIterator[tuple[str, int]]:
    """Serve the application while the context lasts; yields the address and port that it listens on.

    Raises `ListenError` if that cannot be.
    """
    runner = web.AppRunner(
        app,
        access_log=None,
        handle_signals=False,
        shutdown_timeout=SHUTDOWN_SECONDS,
        logger=_ServerLog(logging.getLogger("aiohttp.server")),
        keepalive_timeout=head_seconds,  # it runs from the opening of a connection, whatever has come of a head
    )
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


def check_exposure(host: str, keys: Verifier) -> None:
    """Other machines are not let near a listener without a key. Raises `ListenError`."""
    if keys.any or is_loopback(host):
        return
    raise ListenError(
        f"http.host {host} can be reached from other machines, and there is no key: make one with"
        " `hermes-gateway keys create NAME`, or set http.host: 127.0.0.1"
    )


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


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


class _ServerLog(logging.LoggerAdapter[logging.Logger]):
    """What aiohttp has to say of connections. A request that cannot be read, or does not come whole, is its sender's
    fault: a line, and not an error with all of where it came up, by which anybody could fill the log."""

    def exception(self, msg: object, *args: object, exc_info: Any = True, **others: Any) -> None:  # noqa: ANN401 - as there
        """Log a failure."""
        if isinstance(exc_info, HttpProcessingError | web.RequestPayloadError):
            # What follows a colon is the sender's own.
            self.info("a request cannot be read: %s", str(exc_info).partition("message:")[2].partition(":")[0].strip())
        elif isinstance(exc_info, ConnectionError):
            self.info("a client left before its request was answered")
        else:
            super().exception(msg, *args, exc_info=exc_info, **others)


async def _finish_headers(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers["Server"] = SERVER_NAME
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers["X-Content-Type-Options"] = "nosniff"
