"""What every request goes through: for whom the listener is, who asks, how much they send, and errors in one shape."""

import asyncio
import ipaddress
import json
import logging
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, Protocol, TypeVar

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from gateway.api.errors import ApiError, error_body
from gateway.api.json_body import parse_object
from gateway.api.keys import Holder

log = logging.getLogger(__name__)

MAX_BODY_BYTES: Final = 8 * 1024 * 1024
"""The largest body of a request: as much as a frame on the gateway's socket."""

BODY_SECONDS: Final = 30.0
"""How long a body may take to arrive: the largest one comes in that time over two megabits a second."""

HOLDER: Final = web.RequestKey("holder", Holder)
"""Under which a request has whom it comes from."""

_HERE: Final = frozenset({"localhost", "127.0.0.1", "::1"})
"""What this machine calls itself, in nearly every request."""

_OPEN: Final = "hermes_gateway_open"
"""The mark on handlers that need no key."""

_UNHOSTED: Final = "hermes_gateway_any_host"
"""The mark on handlers that are reached under whatever name a proxy has."""

_SCOPE: Final = "hermes_gateway_scope"
"""The mark on handlers with the scopes of which a key needs one."""

_H = TypeVar("_H", bound=Handler)


class Verifier(Protocol):
    """Who knows the keys. `complete`: all of them."""

    complete: bool

    @property
    def any(self) -> bool:
        """Whether there are, or may be, any."""

    def verify(self, token: str) -> Holder | None:
        """Whom a key stands for."""


def open_to_all(handler: _H) -> _H:
    """Mark a handler as one that anybody may call."""
    setattr(handler, _OPEN, True)
    return handler


def checks_by_itself(handler: _H) -> _H:
    """Mark a handler as one that checks by itself who calls, by a signature; it may be behind a proxy of any name."""
    setattr(handler, _UNHOSTED, True)
    return open_to_all(handler)


def needs(*scopes: str) -> Callable[[_H], _H]:
    """Mark a handler as one for keys with any of these scopes. One that is not marked is for admins."""

    def mark(handler: _H) -> _H:
        setattr(handler, _SCOPE, scopes)
        return handler

    return mark


def guard(keys: Verifier, hosts: Callable[[], Collection[str]]) -> Middleware:
    """Let through what is for us, and is open or carries a key. An unknown path is told only to whoever has one."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        target = request.match_info.handler
        if not getattr(target, _UNHOSTED, False):
            _check_host(request, hosts())
        if not getattr(target, _OPEN, False):
            request[HOLDER] = holder = _holder(request, keys)
            scopes = getattr(target, _SCOPE, ("admin",))
            if request.match_info.http_exception is None and not any(map(holder.may, scopes)):
                words = f"the key {holder.name} is not good for this: it takes one for {' or '.join(scopes)}"
                raise ApiError(403, words, code="insufficient_permissions")
        if request.content_length is not None and request.content_length > MAX_BODY_BYTES:
            raise _too_large()
        return await handler(request)

    return check


def _check_host(request: web.Request, allowed: Collection[str]) -> None:
    """A page in a browser may have its own name lead to this machine; the browser then sends that name (DNS rebinding).
    No name leads to an address that is written out. Raises `ApiError`."""
    name = _host_name(request.headers.get("Host", ""))
    if name in _HERE or name in {each.lower() for each in allowed}:
        return
    try:
        ipaddress.ip_address(name)
    except ValueError:
        words = "this is not the server for the Host that the request names: add it to http.allowed_hosts"
        raise ApiError(421, words, code="wrong_host") from None


def _host_name(host: str) -> str:
    """The name in a Host header, without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].rstrip(".").lower()


def _holder(request: web.Request, keys: Verifier) -> Holder:
    """Whom a request comes from. Raises `ApiError`."""
    headers = {"WWW-Authenticate": 'Bearer realm="hermes-gateway"'}
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and (holder := keys.verify(given.strip())) is not None:
        return holder
    if not keys.complete:
        words = "the database is out of use, and keys cannot be looked up: try again later"
        raise ApiError(503, words, code="not_ready", headers={"Retry-After": "10"})
    if not keys.any:
        words = "there is no API key yet: `hermes-gateway keys create NAME` makes one, or set http.api_key"
    else:
        words = "the API key is missing or wrong: send it as Authorization: Bearer …"
    raise ApiError(401, words, code="invalid_api_key", headers=headers)


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give errors the body that programs expect: `{"error": {"message", "type", "param", "code"}}`."""
    try:
        return await handler(request)
    except ApiError as error:
        return json_response(error.body(), status=error.status, headers=error.headers)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        kept = {name: error.headers[name] for name in ("WWW-Authenticate", "Allow") if name in error.headers}
        text = error.text or ""
        message = error.reason if text.startswith(f"{error.status}:") or not text else text
        return json_response(error_body(error.status, message), status=error.status, headers=kept)
    except ConnectionResetError:
        raise
    except Exception:
        log.exception("a request to %s failed", request.path)
        return json_response(error_body(500, "an error inside the gateway; its log says more"), status=500)


def json_response(
    value: Mapping[str, Any], *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """An answer with a JSON body."""
    return web.Response(text=json.dumps(value), status=status, headers=headers, content_type="application/json")


async def read_json(request: web.Request, *, seconds: float = BODY_SECONDS) -> dict[str, Any]:
    """The JSON object that a request carries, its texts clean. Raises `ApiError`."""
    if request.content_type != "application/json":
        words = "send JSON, with Content-Type: application/json"
        raise ApiError(415, words, code="unsupported_media_type")
    return parse_object(await read_body(request, seconds=seconds))


async def read_body(request: web.Request, *, seconds: float = BODY_SECONDS, limit: int = MAX_BODY_BYTES) -> bytes:
    """The body of a request, as it came. Raises `ApiError`."""
    if request.content_length is not None and request.content_length > limit:
        raise _too_large(limit)
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > limit:
                    raise _too_large(limit)
    except TimeoutError:
        raise ApiError(408, "the body takes too long", code="body_timeout", headers={"Connection": "close"}) from None
    except web.RequestPayloadError:
        words = "the body is not what Content-Encoding or Transfer-Encoding says"
        raise ApiError(400, words, code="invalid_body", headers={"Connection": "close"}) from None
    return bytes(body)


def _too_large(limit: int = MAX_BODY_BYTES) -> ApiError:
    words = f"the body is too large: {limit // 1024} KiB are taken"
    return ApiError(413, words, code="body_too_large", headers={"Connection": "close"})
