"""The Bot API over HTTP: the library's bot on a client of our own, which tells what was sent and shows no token."""

import asyncio
import json
import logging
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

import aiohttp
from telegram import Bot
from telegram.error import NetworkError, TelegramError
from telegram.request import BaseRequest, RequestData

from adapters.connection import pause_of
from adapters.proxy import proxy_of
from adapters.telegram.constants import CONNECTIONS, PIECE_BYTES, Timing
from adapters.telegram.multipart import Multipart

MASK: Final = "***"

SHORTEST_SECRET: Final = 8
"""Characters of the part of a token behind its colon that is hidden where it stands alone; a shorter one is none."""

SERVER_FAULT: Final = 500
"""HTTP statuses from here on are the server's fault: it may have done what was asked."""

FAILURES: Final = (aiohttp.ClientError, OSError, UnicodeError)
"""What ends a request without an answer; a host's name that cannot be one is a `UnicodeError`."""

_FORM: Final = {"Content-Type": "application/x-www-form-urlencoded"}
_JSON: Final = {"Content-Type": "application/json"}
_NOISY: Final = ("telegram",)
_IN_A_PATH: Final = "!$&'()*+,;=:@"
"""What stands for itself there (https://www.rfc-editor.org/rfc/rfc3986#section-3.3)."""


class CallError(TelegramError):
    """The server refused a call, or failed at it.

    `code` is the HTTP status, `retry_after` in seconds and `migrate_to` are what it says besides
    (https://core.telegram.org/bots/api#responseparameters). `is_verdict`: it is a Bot API server that says so, not
    something on the way to one.
    """

    def __init__(
        self,
        code: int,
        description: str,
        *,
        retry_after: float | None = None,
        migrate_to: int | None = None,
        is_verdict: bool = True,
    ) -> None:
        super().__init__(description)
        self.message = description
        self.code = code
        self.retry_after = retry_after
        self.migrate_to = migrate_to
        self.is_verdict = is_verdict

    def says(self, *words: str) -> bool:
        """Whether its description holds one of these, in any case."""
        folded = self.message.casefold()
        return any(word.casefold() in folded for word in words)


class NotSentError(NetworkError):
    """The call did not leave this machine."""


class NoAnswerError(NetworkError):
    """The call left, and no answer came that can be read."""


@dataclass(slots=True)
class _Progress:
    """How far a request has come. `connected`: there is a connection to the server for it, and some of it may have
    left; until then, proxies and certificates included, nothing has."""

    connected: bool = False


class TelegramRequest(BaseRequest):
    """Makes the library's calls. Every error is one of the three above; none of their texts holds the token, nor the
    login of the proxy."""

    def __init__(self, token: str, timing: Timing, proxy: str | None = None) -> None:
        secret = token.partition(":")[2]
        parts = [token, secret] if len(secret) >= SHORTEST_SECRET else [token]
        self._secrets = [written for part in parts for written in _spellings(part)] + _login(proxy)
        self._timing = timing
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=CONNECTIONS),
            cookie_jar=aiohttp.DummyCookieJar(),
            proxy=proxy,
            trace_configs=[_watched()],
        )

    @property
    def read_timeout(self) -> float | None:
        """Seconds to wait for an answer."""
        return self._timing.answer

    async def initialize(self) -> None:
        """Nothing: the client is there from the start."""

    async def shutdown(self) -> None:
        """Close every connection."""
        await self._http.close()

    async def do_request(
        self,
        url: str,
        method: str,
        request_data: RequestData | None = None,
        read_timeout: Any = BaseRequest.DEFAULT_NONE,  # noqa: ANN401 - the library's type is private
        write_timeout: Any = BaseRequest.DEFAULT_NONE,  # noqa: ANN401
        connect_timeout: Any = BaseRequest.DEFAULT_NONE,  # noqa: ANN401
        pool_timeout: Any = BaseRequest.DEFAULT_NONE,  # noqa: ANN401
    ) -> tuple[int, bytes]:
        """Make one call; returns only what is a success. Raises `CallError`, `NotSentError`, `NoAnswerError`."""
        del write_timeout, connect_timeout, pool_timeout
        if request_data is not None and request_data.contains_files:
            return await self._upload(method, url, request_data)
        read = float(read_timeout) if isinstance(read_timeout, int | float) else self._timing.answer
        form = urlencode(request_data.json_parameters).encode() if request_data is not None else None
        return await self._answer(method, url, form, _FORM if form else {}, self._timeout(read, self._timing.answer))

    async def call(self, url: str, parameters: Mapping[str, Any], *, read_timeout: float | None = None) -> Any:  # noqa: ANN401
        """The `result` of a call as JSON, untouched by the library. Raises as `do_request` does."""
        timeout = self._timeout(read_timeout or self._timing.answer, self._timing.answer)
        _, body = await self._answer("POST", url, json.dumps(parameters).encode(), _JSON, timeout)
        return json.loads(body)["result"]

    async def download(self, url: str, write: Callable[[bytes], Awaitable[None]]) -> None:
        """Hand on what is at an address, piece by piece. Raises as `do_request` does, and what `write` raises."""
        timeout, progress, http = self._timeout(self._timing.answer, None), _Progress(), self._open()
        try:
            async with http.get(url, timeout=timeout, allow_redirects=False, trace_request_ctx=progress) as response:
                if not _is_success(response.status):
                    words = f"the server answered {response.status}"
                    raise CallError(response.status, words, is_verdict=False)
                async for piece in response.content.iter_chunked(PIECE_BYTES):
                    await write(piece)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._failure(error, progress) from None

    def redacted(self, words: str) -> str:
        """Words of a server, or of something on the way to it, without the token."""
        for secret in self._secrets:
            words = words.replace(secret, MASK)
        return words

    def _open(self) -> aiohttp.ClientSession:
        """What requests are made with. Raises `NotSentError` once it is closed."""
        if self._http.closed:
            raise NotSentError("the connection has ended")
        return self._http

    def _failure(self, error: BaseException, progress: _Progress) -> NetworkError:
        words = self.redacted(self._in_words(error))
        return NoAnswerError(words) if progress.connected else NotSentError(words)

    def _in_words(self, error: BaseException) -> str:
        match error:
            case asyncio.CancelledError():
                return "the connection has ended"
            case aiohttp.ConnectionTimeoutError():
                return f"no connection within {self._timing.connect:g} seconds"
            case aiohttp.ClientProxyConnectionError():
                return f"no connection to the proxy {error.host}:{error.port}: {_cause(error.os_error)}"
            case aiohttp.ClientConnectorError():
                return f"no connection to {error.host}:{error.port}: {_cause(error.os_error)}"
            case aiohttp.ClientHttpProxyError():
                return f"the proxy answered {error.status} {error.message}"
            case aiohttp.ClientResponseError():
                return f"the answer cannot be read: {error.message.partition(chr(10))[0].rstrip(':')}"
        return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__

    def _timeout(self, read: float, write: float | None) -> aiohttp.ClientTimeout:
        """`read` is for one read of an answer, `write` for all of what is sent, which else takes what it takes."""
        connect = self._timing.connect
        total = None if write is None else connect + write + read
        return aiohttp.ClientTimeout(total=total, connect=connect, sock_connect=connect, sock_read=read)

    async def _upload(self, method: str, url: str, request_data: RequestData) -> tuple[int, bytes]:
        """Make a call with files. It takes what it takes, but not for ever without a piece that leaves."""
        seconds, now = self._timing.upload, asyncio.get_running_loop().time
        try:
            async with asyncio.timeout(seconds) as patience:
                body = Multipart(
                    request_data.json_parameters,
                    request_data.multipart_data,
                    lambda: patience.reschedule(now() + seconds),
                )
                # The server answers once it has passed the file on, which takes as long again.
                return await self._answer(method, url, body, body.headers, self._timeout(seconds, None))
        except TimeoutError:
            raise NoAnswerError(f"nothing was taken of a file, nor answered, for {seconds:g} seconds") from None

    async def _answer(
        self,
        method: str,
        url: str,
        body: bytes | Multipart | None,
        headers: Mapping[str, str],
        timeout: aiohttp.ClientTimeout,
    ) -> tuple[int, bytes]:
        progress, http = _Progress(), self._open()
        try:
            async with http.request(
                method,
                url,
                data=body,
                headers=headers,
                timeout=timeout,
                allow_redirects=False,
                trace_request_ctx=progress,
            ) as response:
                content = await response.read()
        except FAILURES as error:
            raise self._failure(error, progress) from None
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if not http.closed or task is None or task.cancelling():
                raise
            # Who waits for a connection when all of them are closed is cancelled by the library.
            raise self._failure(error, progress) from None
        answer = _json(content)
        if _is_success(response.status):
            if answer is None or "result" not in answer:
                raise NoAnswerError("the answer is not one of the Bot API")
            return response.status, content
        raise self._refusal(response, answer or {})

    def _refusal(self, response: aiohttp.ClientResponse, answer: Mapping[str, Any]) -> CallError:
        parameters = answer.get("parameters")
        parameters = parameters if isinstance(parameters, Mapping) else {}
        retry_after = parameters.get("retry_after") or response.headers.get("Retry-After")
        migrate_to = parameters.get("migrate_to_chat_id")
        said = answer.get("description") or f"the server answered {response.status} {response.reason}"
        return CallError(
            response.status,
            self.redacted(str(said)),
            retry_after=pause_of(retry_after),
            migrate_to=migrate_to if isinstance(migrate_to, int) else None,
            is_verdict=answer.get("ok") is False,
        )


def _cause(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is refused ({error.verify_message})"
    return error.strerror or str(error) or type(error).__name__


def _watched() -> aiohttp.TraceConfig:
    """Notes in each request's `_Progress` when there is a connection for it."""

    async def connected(_session: aiohttp.ClientSession, context: SimpleNamespace, _what: object) -> None:
        context.trace_request_ctx.connected = True

    trace = aiohttp.TraceConfig()
    trace.on_connection_create_end.append(connected)
    trace.on_connection_reuseconn.append(connected)
    return trace


def _spellings(secret: str) -> set[str]:
    """All the ways in which it may be written in an address, and thus in an error."""
    return {secret, _escaped(secret), quote(secret, safe="/:"), quote(secret, safe="")}


def _escaped(token: str) -> str:
    """As it stands in an address, of which nothing in it begins another part."""
    return quote(token, safe=_IN_A_PATH)


def _login(proxy: str | None) -> list[str]:
    login, at, _host = urlsplit(proxy or "").netloc.rpartition("@")
    return [login + at] if login else []


def _is_success(status: int) -> bool:
    return HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES


def _json(content: bytes) -> dict[str, Any] | None:
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None


class Client:
    """One account on one Bot API server. Building it belongs into a running loop; close it. Raises `AccountError` if
    the server cannot be reached as the environment says."""

    def __init__(self, token: str, api_base_url: str, timing: Timing) -> None:
        base = api_base_url.rstrip("/")
        self._timing = timing
        self._methods = f"{base}/bot{_escaped(token)}"
        self._files = f"{base}/file/bot{_escaped(token)}"
        proxy = proxy_of(base)
        self._request = TelegramRequest(token, timing, proxy)
        # Connections of its own: however many calls hang, what people write is fetched.
        self._news = TelegramRequest(token, timing, proxy)
        self.bot = Bot(
            token,
            base_url=lambda _token: self._methods,
            base_file_url=lambda _token: self._files,
            request=self._request,
            get_updates_request=self._news,
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._request.shutdown()
        await self._news.shutdown()

    async def call(self, method: str, **parameters: Any) -> Any:  # noqa: ANN401
        """The `result` of a method as JSON, for what has to be seen as it came. Raises as `TelegramRequest` does."""
        return await self._request.call(f"{self._methods}/{method}", parameters)

    async def updates(self, offset: int | None, kinds: tuple[str, ...], *, wait: int) -> list[dict[str, Any]]:
        """The updates from `offset` on, as they came; those below it are confirmed. Raises as `call` does."""
        parameters = {"timeout": wait, "allowed_updates": list(kinds)} | ({} if offset is None else {"offset": offset})
        result = await self._news.call(
            f"{self._methods}/getUpdates", parameters, read_timeout=wait + self._timing.margin
        )
        return [each for each in result if isinstance(each, dict)] if isinstance(result, list) else []

    def redacted(self, words: str) -> str:
        """Words of a server without the token."""
        return self._request.redacted(words)

    async def download(self, path: str, write: Callable[[bytes], Awaitable[None]]) -> None:
        """Hand on the file at a path that `getFile` gave. Raises as `call` does."""
        await self._request.download(f"{self._files}/{quote(path)}", write)


def quiet_libraries() -> None:
    """Keep the libraries from logging each request: its address holds the token."""
    for name in _NOISY:
        logger = logging.getLogger(name)
        if logger.level < logging.WARNING:
            logger.setLevel(logging.WARNING)
