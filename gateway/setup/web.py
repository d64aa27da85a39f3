"""Owns the requests of the set-up: one call, its answer, and plain words for a server that cannot be reached."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

TIMEOUT_SECONDS: Final = 15.0
"""How long a server may take for each step of a call; the person waits meanwhile."""

WRONG_PROXY: Final = "the proxy that the environment names, HTTPS_PROXY or ALL_PROXY, has to be one for HTTP"


class UnreachableError(Exception):
    """No answer came, or none that can be understood; `str()` says from where and why, and holds no secret."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said. `data` is its JSON."""

    status: int
    data: Any
    headers: Mapping[str, str] = field(default_factory=dict)

    def get(self, key: str) -> Any:  # noqa: ANN401 - any JSON
        """What stands under a key of the object that was answered; None if there is no such thing."""
        return self.data.get(key) if isinstance(self.data, Mapping) else None


class Web(Protocol):
    """What the parts of the set-up call with."""

    def call(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
    ) -> Answer:
        """Make one request. Raises `UnreachableError`."""


class Http:
    """The real one. It goes through a proxy that the environment names, but not to this machine itself."""

    def call(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
    ) -> Answer:
        """Make one request. Raises `UnreachableError`."""
        import httpx

        host = urlsplit(url).hostname or ""
        near = host in ("localhost", "127.0.0.1", "::1")
        try:
            client = httpx.Client(timeout=TIMEOUT_SECONDS, trust_env=not near)
        except (ImportError, ValueError, httpx.InvalidURL):
            raise UnreachableError(f"{host} cannot be reached ({WRONG_PROXY})") from None
        try:
            with client:
                response = client.request(method, url, headers=headers, data=form)
            data = response.json()
        except httpx.TimeoutException:
            raise UnreachableError(f"{host} does not answer within {TIMEOUT_SECONDS:g} seconds") from None
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError, OSError) as error:
            raise UnreachableError(f"{host or 'the server'} cannot be reached ({_reason(error)})") from None
        except ValueError:
            raise UnreachableError(f"what answers at {host} is something else (HTTP {response.status_code})") from None
        return Answer(response.status_code, data, response.headers)


def _reason(error: BaseException) -> str:
    """Why, in the words of the system where there are any: those of the library may hold the address."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror.lower()
        cause = cause.__cause__ or cause.__context__
    return "no connection"
