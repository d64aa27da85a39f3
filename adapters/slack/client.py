"""Slack's Web API: the library's client without its retries, and errors that tell whether a call has left."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.web.async_client import AsyncWebClient

from adapters.connection import pause_of
from adapters.proxy import proxy_of
from adapters.slack.constants import CONNECTIONS, PIECE_BYTES, Timing

ANY_SIZE: Final = -1
"""Of a page whose length nobody tells beforehand."""

SLACK_HOSTS: Final = ("slack.com", "slack-files.com", "slack-gov.com")
"""Where the token may go, besides the host of the Web API itself."""

NOT_SENT: Final = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.InvalidURL,
    aiohttp.ClientProxyConnectionError,
    aiohttp.ClientHttpProxyError,
)
"""What happens before a request leaves."""


class SlackError(Exception):
    """A call did not go through. No text of it holds a token."""


class CallError(SlackError):
    """Slack refused a call, or failed at it.

    `error` is Slack's own name for it, `status` the HTTP status, `retry_after` in seconds; `needed` names the scope
    that is missing.
    """

    def __init__(
        self, error: str, *, status: int = 200, retry_after: float | None = None, needed: str = "", detail: str = ""
    ) -> None:
        super().__init__(f"{error} ({detail})" if detail else error)
        self.error = error
        self.status = status
        self.retry_after = retry_after
        self.needed = needed


class NotSentError(SlackError):
    """The call did not leave this machine."""


class NoAnswerError(SlackError):
    """The call left, and no answer came that can be read."""


def quiet_logger() -> logging.Logger:
    """The library's logger, silenced: what it tells of is an error here, or an address that holds a ticket."""
    logger = logging.getLogger("slack_sdk")
    logger.setLevel(logging.CRITICAL)
    return logger


class Client:
    """One bot in one workspace. Building it belongs into a running loop; close it. Raises `AccountError` if Slack
    cannot be reached as the environment says."""

    def __init__(self, token: str, api_base_url: str, timing: Timing) -> None:
        base = f"{api_base_url.rstrip('/')}/"
        self._token = token
        self._timing = timing
        self._host = urlsplit(base).hostname
        proxy = proxy_of(base)
        self._http = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=timing.answer, connect=timing.connect),
            proxy=proxy,
            connector=aiohttp.TCPConnector(limit=CONNECTIONS),
        )
        # A retry of the library could send a message twice, and it does not read Retry-After to its end.
        self.web = AsyncWebClient(
            token=token, base_url=base, session=self._http, retry_handlers=[], logger=quiet_logger()
        )
        # By itself the library would go over the proxy to this machine and to what NO_PROXY names, too.
        self.web.proxy = proxy

    async def close(self) -> None:
        """Close every connection."""
        await self._http.close()

    async def call(self, call: Awaitable[Any]) -> Mapping[str, Any]:
        """The answer of one of the library's calls. Raises `SlackError`."""
        return (await self.answered(call))[0]

    async def answered(self, call: Awaitable[Any]) -> tuple[Mapping[str, Any], Mapping[str, str]]:
        """The answer, and the headers that came with it, in lower case. Raises `SlackError`."""
        try:
            response = await call
        except SlackApiError as error:
            raise _refusal(error) from None
        except NOT_SENT as error:
            raise NotSentError(in_short(error)) from None
        except (aiohttp.ClientError, OSError, TimeoutError, SlackClientError) as error:
            raise NoAnswerError(in_short(error)) from None
        except (AttributeError, TypeError, ValueError) as error:
            # So the library reports an answer that is text, and none of Slack's.
            raise NoAnswerError("the answer is none of Slack's") from error
        if not isinstance(response.data, dict):
            raise NoAnswerError("the answer is none of Slack's")
        return response.data, {str(name).lower(): str(value) for name, value in response.headers.items()}

    async def download(self, url: str, write: Callable[[bytes], Awaitable[None]], *, html_size: int | None) -> int:
        """Hand on what is at a private address, piece by piece; the status. With any but 200 it is not the file.

        A page in HTML is a request to sign in, and counts as 401, unless one of `html_size` bytes, or of `ANY_SIZE`, is
        expected. Of an answer that is compressed, or does not say how long it is, that is known at its end. Raises
        `SlackError`, and what `write` raises.
        """
        if not self._may_know_token(url):
            raise CallError("foreign_host", detail=f"the file is kept at {urlsplit(url).hostname}, not by Slack")
        timeout = aiohttp.ClientTimeout(total=None, connect=self._timing.connect, sock_read=self._timing.upload)
        headers = {"Authorization": f"Bearer {self._token}"}
        try:
            request = self._http.get(url, headers=headers, timeout=timeout, allow_redirects=False)
            async with request as response:
                is_page, length = response.content_type == "text/html", response.content_length
                if "Content-Encoding" in response.headers:
                    length = None
                is_page = is_page and html_size != ANY_SIZE
                if is_page and (html_size is None or length not in (None, html_size)):
                    return HTTPStatus.UNAUTHORIZED
                taken = 0
                if response.status == HTTPStatus.OK:
                    async for piece in response.content.iter_chunked(PIECE_BYTES):
                        await write(piece)
                        taken += len(piece)
                    if is_page and taken != html_size:
                        return HTTPStatus.UNAUTHORIZED
                return response.status
        except NOT_SENT as error:
            raise NotSentError(in_short(error)) from None
        except (aiohttp.ClientError, TimeoutError) as error:
            raise NoAnswerError(in_short(error)) from None

    async def upload(self, url: str, data: AsyncIterator[bytes], size: int) -> None:
        """Send a file to where Slack has made room for it. Raises `SlackError`."""
        timeout = aiohttp.ClientTimeout(total=None, connect=self._timing.connect, sock_read=self._timing.upload)
        headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
        try:
            async with self._http.post(url, data=data, headers=headers, timeout=timeout) as response:
                if response.status != HTTPStatus.OK:
                    said = (await response.text())[:100]
                    raise CallError("upload_failed", status=response.status, detail=f"{response.status} {said}")
        except NOT_SENT as error:
            raise NotSentError(in_short(error)) from None
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise NoAnswerError(in_short(error)) from None

    def _may_know_token(self, url: str) -> bool:
        parts = urlsplit(url)
        host = parts.hostname or ""
        if host == self._host:
            return True
        return parts.scheme == "https" and any(host == each or host.endswith(f".{each}") for each in SLACK_HOSTS)


def in_short(error: Exception) -> str:
    """An error in words, without an address: that of a call may hold a ticket, that of a proxy a login."""
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"the proxy answered {error.status} {error.message}"
    if isinstance(error, aiohttp.ClientResponseError):
        return f"status {error.status}"
    if isinstance(error, aiohttp.ClientConnectorError):
        return str(error.os_error) or type(error).__name__
    if isinstance(error, aiohttp.ClientError):
        return type(error).__name__
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _refusal(error: SlackApiError) -> SlackError:
    response: Any = error.response
    data = getattr(response, "data", None)
    status = int(getattr(response, "status_code", 0) or getattr(response, "status", 0) or 0)
    headers = {str(name).lower(): value for name, value in dict(getattr(response, "headers", {}) or {}).items()}
    if not isinstance(data, dict) or "error" not in data:
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            return CallError("ratelimited", status=status, retry_after=pause_of(headers.get("retry-after")))
        if status < HTTPStatus.INTERNAL_SERVER_ERROR:
            # Slack names what it refuses (https://docs.slack.dev/apis/web-api#responses): this comes from before it.
            return NoAnswerError(f"the answer is none of Slack's (status {status})")
        return CallError(f"status {status}", status=status)
    messages = (data.get("response_metadata") or {}).get("messages") or ()
    return CallError(
        str(data["error"]),
        status=status,
        retry_after=pause_of(headers.get("retry-after")),
        needed=str(data.get("needed") or ""),
        detail="; ".join(map(str, messages))[:300],
    )
